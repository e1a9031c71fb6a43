import copy
import dataclasses
import inspect
import json
import pickle

import pytest

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
    assert taken(odds=4) == {"odds": 4}


def test_a_constructor_and_replace_give_the_new_name() -> None:
    with pytest.raises(OptionError, match=r"^Zoom has no odds any more since 0\.2\. Use mask_threshold, a probability"):
        Zoom(odds=4)  # type: ignore[call-arg]
    with pytest.raises(OptionError, match=r"Use mask_margin$"):
        dataclasses.replace(Zoom(), spill=None)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="oddities"):
        Zoom(oddities=4)  # type: ignore[call-arg]


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
    assert sentence("options", "--odds") == (
        "--odds is gone since 0.2. Use --region-threshold, a probability: odds 4 are 0.2"
    )
