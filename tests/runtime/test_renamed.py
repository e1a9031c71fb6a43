import copy
import dataclasses
import inspect
import json
import pickle
import re

import click
import pytest

import clsclip
import clsclip_runtime
from clsclip.cli.data import command as data
from clsclip.cli.evaluate import command as evaluate
from clsclip.cli.train import command as train
from clsclip_bench.cli import command as bench
from clsclip_export.cli import command as export
from clsclip_runtime import Detector, Segmenter, ZoomIn
from clsclip_runtime.backends.select import select_backend
from clsclip_runtime.cli.bundle import command as bundle
from clsclip_runtime.cli.doctor import command as doctor
from clsclip_runtime.cli.infer import command as infer
from clsclip_runtime.errors import OptionError
from clsclip_runtime.renamed import (
    FILE,
    OldNames,
    missing_attribute,
    missing_name,
    old_names,
    refuses_old_names,
    sentence,
    tells_new_names,
)

COMMANDS = {
    "clsclip-bench": bench,
    "clsclip-bundle": bundle,
    "clsclip-data": data,
    "clsclip-doctor": doctor,
    "clsclip-eval": evaluate,
    "clsclip-export": export,
    "clsclip-infer": infer,
    "clsclip-train": train,
}


@tells_new_names
@dataclasses.dataclass(frozen=True)
class Zoom:
    crop_margin: float = 0.1
    layout: str = ""


class Boxes(metaclass=OldNames):
    @classmethod
    def from_boxes(cls) -> "Boxes":
        return cls()


@refuses_old_names
def segment(source: str, *, max_classes: int | None = None) -> tuple[str, int | None]:
    """Segment."""
    return source, max_classes


def test_every_section_gives_texts_and_no_new_name_is_an_old_one() -> None:
    document = json.loads(FILE.read_text("utf-8"))
    for section in ("options", "arguments", "attributes", "classes", "backends"):
        assert document[section]
        for old, new in document[section].items():
            assert isinstance(new, str) and new and new != old
    assert set(old_names("options")) == set(document["options"])


def test_an_old_keyword_gives_the_new_name_in_one_sentence() -> None:
    with pytest.raises(OptionError) as caught:
        segment("a", top_k=3)  # type: ignore[call-arg]
    assert str(caught.value) == "segment has no top_k any more since 0.2. Use max_classes"


def test_a_keyword_that_never_was_is_pythons_own_error() -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'topk'"):
        segment("a", topk=3)  # type: ignore[call-arg]


def test_a_decorated_function_is_otherwise_itself() -> None:
    assert segment("a", max_classes=2) == ("a", 2)
    assert segment.__doc__ == "Segment." and segment.__name__ == "segment"
    assert list(inspect.signature(segment).parameters) == ["source", "max_classes"]


def test_a_name_that_a_function_still_takes_is_not_refused() -> None:
    assert "layout" in old_names("arguments")
    assert Zoom(layout="yolov7").layout == "yolov7"


def test_a_function_that_takes_any_keyword_is_left_alone() -> None:
    taken = refuses_old_names(lambda **kwargs: kwargs)
    assert taken(margin=4) == {"margin": 4}


def test_a_constructor_and_replace_give_the_new_name() -> None:
    with pytest.raises(OptionError, match=r"^Zoom has no margin any more since 0\.2\. Use crop_margin$"):
        Zoom(margin=4)  # type: ignore[call-arg]
    with pytest.raises(OptionError, match=r"Use min_crop_size$"):
        dataclasses.replace(Zoom(), min_side=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="margins"):
        Zoom(margins=4)  # type: ignore[call-arg]


def test_an_old_attribute_gives_the_new_name_and_others_are_pythons_own_error() -> None:
    zoom = Zoom(0.3)
    with pytest.raises(AttributeError) as caught:
        _ = zoom.verdicts  # type: ignore[attr-defined]
    assert str(caught.value) == "Zoom has no verdicts any more since 0.2. Use result['dog'].status"
    with pytest.raises(AttributeError, match=r"^'Zoom' object has no attribute 'nothing'$"):
        _ = zoom.nothing  # type: ignore[attr-defined]
    assert not hasattr(zoom, "verdicts") and zoom.crop_margin == 0.3


def test_objects_of_such_a_class_are_copied_and_pickled() -> None:
    zoom = Zoom(0.3)
    assert copy.deepcopy(zoom) == zoom == pickle.loads(pickle.dumps(zoom))


def test_an_old_constructor_gives_the_new_name() -> None:
    with pytest.raises(AttributeError, match=r"^Boxes has no of any more since 0\.2\. Use from_boxes$"):
        Boxes.of([])  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match="type object 'Boxes' has no attribute 'nothing'"):
        Boxes.nothing  # type: ignore[attr-defined]  # noqa: B018
    assert isinstance(Boxes.from_boxes(), Boxes)


def test_names_of_modules() -> None:
    old = missing_name("clsclip_runtime", "Region")
    assert isinstance(old, ImportError) and str(old).endswith("Use Instance")
    assert isinstance(missing_name("clsclip_runtime", "Regio"), AttributeError)
    assert missing_attribute(Boxes, "x").name == "x"


def test_what_is_no_old_name_has_no_sentence() -> None:
    assert sentence("options", "--classes") is None
    assert sentence("options", "--margin") == "--margin is gone since 0.2. Use --crop-margin"


def everything_named(command: click.Command) -> set[str]:
    """Options of a command and of its subcommands."""
    own = {name for one in command.params for name in (*one.opts, *one.secondary_opts)}
    subcommands = command.commands.values() if isinstance(command, click.Group) else ()
    return own.union(*(everything_named(one) for one in subcommands))


def test_no_command_has_an_old_option_and_every_new_one_is_somewhere() -> None:
    known = {name: everything_named(command) for name, command in COMMANDS.items()}
    for old, new in old_names("options").items():
        have = {name for name, options in known.items() if not options.isdisjoint(re.findall(r"--[a-z][a-z-]*", new))}
        assert have or old.endswith("cence"), f"{old}: no command has {new}"
        assert not [name for name in have if old in known[name]], old


@pytest.mark.parametrize("name", sorted(old_names("arguments")))
def test_every_old_argument_is_refused_somewhere(name: str) -> None:
    refused = 0
    for call in (Segmenter.load, Segmenter.__call__, Detector.load, ZoomIn):
        try:
            call(**{name: None})  # type: ignore[operator]
        except OptionError as error:
            assert str(error).endswith(f"Use {old_names('arguments')[name]}")
            refused += 1
        except TypeError:
            continue
    assert refused > 0


@pytest.mark.parametrize("name", sorted(old_names("backends")))
def test_old_backends_give_the_new_ones(name: str) -> None:
    with pytest.raises(OptionError, match=rf"^{name} is gone since 0\.2\. Use backend='openvino'"):
        select_backend(name)


@pytest.mark.parametrize("name", sorted(old_names("classes")))
def test_old_classes_cannot_be_imported_and_new_ones_can(name: str) -> None:
    for module in (clsclip_runtime, clsclip):
        with pytest.raises(ImportError, match=f"Use {old_names('classes')[name]}$"):
            exec(f"from {module.__name__} import {name}")
        assert hasattr(module, old_names("classes")[name])
