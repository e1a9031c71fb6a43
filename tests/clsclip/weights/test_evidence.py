"""What folders say of their towers: read in one way for a folder and for a file in it, and never contradicted."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from safetensors.torch import load_file, save_file

from clsclip.clipseg_files import FILES
from clsclip.errors import TowersError
from clsclip.kept_towers import keep_towers
from clsclip.tower_files import load_towers
from clsclip.towers import Towers
from clsclip.weights.files import read_file
from clsclip.weights.flavor import MEAN_STD, Asked, choose, told_by_name
from clsclip.weights.folders import HF_FILES
from clsclip.weights.processors import PROCESSOR_FILES, read_processor
from tests import weights

PIXELS = Asked(None, MEAN_STD["openai"])
HALF = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5], "resample": 2}
OLD, NEW = PROCESSOR_FILES


def changed(path: Path, change: Callable[[Any], object]) -> None:
    document = json.loads(path.read_text("utf-8"))
    change(document)
    path.write_text(json.dumps(document), "utf-8")


@dataclass
class Way:
    """A way to load the towers of a folder: it, or the weights in it with a name."""

    file: bool

    def load(self, folder: Path, asked: Asked | None = None) -> Towers:
        asked = asked or Asked()
        if not self.file:
            return load_towers(str(folder), asked=asked)
        names = ("open_clip_model.safetensors", "model.safetensors")
        path = next(folder / name for name in names if (folder / name).is_file())
        return load_towers(weights.NAME, str(path), asked=asked)


@pytest.fixture(params=[False, True], ids=["folder", "file"])
def way(request: pytest.FixtureRequest) -> Way:
    return Way(request.param)


def version_5(folder: Path, settings: dict[str, Any]) -> None:
    document = {"image_processor": settings, "processor_class": "CLIPProcessor"}
    (folder / NEW).write_text(json.dumps(document), "utf-8")


def test_the_processor_of_transformers_5_is_read(tmp_path: Path, clip: Any, way: Way) -> None:
    folder = weights.save_transformers(tmp_path, clip)
    (folder / OLD).unlink()
    version_5(folder, HALF)
    image = way.load(folder).image
    assert (image.mean, image.std, image.interpolation) == ((0.5,) * 3, (0.5,) * 3, "bilinear")


def test_the_processor_of_transformers_5_goes_wherever_the_towers_go(tmp_path: Path, clip: Any) -> None:
    """A hub's and a run's copy have it too."""
    assert {*PROCESSOR_FILES} <= {*HF_FILES} and {*PROCESSOR_FILES} <= {*FILES}
    folder = weights.save_transformers(tmp_path / "given", clip)
    (folder / OLD).unlink()
    version_5(folder, HALF)
    towers = load_towers(str(folder))
    keep_towers(towers, tmp_path / "kept")
    assert load_towers(str(tmp_path / "kept")).fingerprint() == towers.fingerprint()


def test_two_processors_must_agree(tmp_path: Path, clip: Any, way: Way) -> None:
    folder = weights.save_transformers(tmp_path, clip)
    settings = json.loads((folder / OLD).read_text("utf-8"))
    version_5(folder, settings)
    assert way.load(folder).image.mean == open_clip.OPENAI_DATASET_MEAN
    version_5(folder, settings | HALF)
    with pytest.raises(TowersError, match=f"{OLD} and {NEW} state different mean"):
        way.load(folder)


def test_a_processor_file_of_texts_alone_says_nothing_of_pixels(tmp_path: Path) -> None:
    (tmp_path / NEW).write_text('{"processor_class": "CLIPProcessor"}', "utf-8")
    assert read_processor(tmp_path) is None


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"do_rescale": False}, "scales pixels by 1; bundles scale by 1/255"),
        ({"rescale_factor": 1 / 127.5}, "scales pixels by 0.00784"),
        ({"rescale_factor": "x"}, "rescale_factor is 'x', and must be a number"),
        ({"do_normalize": "false"}, "do_normalize is 'false', and must be true or false"),
        ({"resample": 99}, "unknown filter 99"),
        ({"resample": True}, "unknown filter True"),
        ({"resample": "bogus"}, "unknown filter 'bogus'"),
        ({"image_mean": ["a"]}, "image_mean is .'a'., and must be a number or three"),
        ({"image_mean": {"r": 1}}, "image_mean is .*, and must be a number or three"),
        ({"image_mean": [0.5]}, "image_mean is .*, and must be a number or three"),
        ({"image_std": [0, 1, 1]}, "must be a std above 0"),
    ],
    ids=str,
)
def test_processors_that_bundles_cannot_express(
    tmp_path: Path, clip: Any, way: Way, settings: dict[str, Any], says: str
) -> None:
    folder = weights.save_transformers(tmp_path, clip)
    changed(folder / OLD, lambda found: found.update(settings))
    with pytest.raises(TowersError, match=f"{OLD}.*{says}"):
        way.load(folder)


def test_a_processor_may_have_one_number_for_all_channels(tmp_path: Path, clip: Any, way: Way) -> None:
    folder = weights.save_transformers(tmp_path, clip)
    changed(folder / OLD, lambda found: found.update(image_mean=0.5, image_std=0.5))
    assert way.load(folder).image.mean == (0.5, 0.5, 0.5)
    changed(folder / OLD, lambda found: found.update(do_normalize=False))
    assert (way.load(folder).image.mean, way.load(folder).image.std) == ((0.0,) * 3, (1.0,) * 3)


@pytest.mark.parametrize("name", ["ViT-L-14-280", "ViT-S-32", "ViT-M-16", "ViT-B-16-plus"])
def test_names_without_tags_say_nothing(name: str) -> None:
    told = [told_by_name(name)]
    with pytest.raises(TowersError, match=f"QuickGELU, and open_clip knows no weights of {name}.*--activation"):
        choose(told, PIXELS, name, "w.pt")
    with pytest.raises(TowersError, match=f"mean and standard deviation .* knows no weights of {name}.*--mean-std"):
        choose(told, Asked("gelu"), name, "w.pt")
    assert choose(told, Asked("gelu", MEAN_STD["openai"]), name, "w.pt").activation == "gelu"


def gelu_in_open_clips(folder: Path) -> None:
    """Another configuration beside that of transformers, which says quick_gelu."""
    preprocess = {"mean": open_clip.OPENAI_DATASET_MEAN, "std": open_clip.OPENAI_DATASET_STD}
    document = {"model_cfg": weights.CONFIG, "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(document), "utf-8")


def mean_in_open_clips(folder: Path) -> None:
    gelu_in_open_clips(folder)
    changed(folder / "open_clip_config.json", lambda found: found["model_cfg"].update(quick_gelu=True))
    changed(folder / OLD, lambda found: found.update(HALF))


def openais_numbers(folder: Path) -> None:
    """OpenAI's own weights in a folder that says gelu."""
    state = load_file(folder / "model.safetensors")
    numbers = {name: torch.tensor(32) for name in ("input_resolution", "context_length", "vocab_size")}
    save_file(state | numbers, folder / "model.safetensors")
    gelu(folder)


def gelu(folder: Path) -> None:
    changed(folder / "config.json", lambda found: found["vision_config"].update(hidden_act="gelu"))
    changed(folder / "config.json", lambda found: found["text_config"].update(hidden_act="gelu"))


def heads_in_open_clips(folder: Path) -> None:
    mean_in_open_clips(folder)
    (folder / OLD).unlink()
    vision = weights.CONFIG["vision_cfg"] | {"head_width": 24}
    changed(folder / "open_clip_config.json", lambda found: found["model_cfg"].update(vision_cfg=vision))


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (gelu_in_open_clips, "open_clip_config.json.* says gelu, and config.json.* says quick_gelu"),
        (mean_in_open_clips, "says mean and std of openai, and preprocessor_config.json.* says mean and std of incept"),
        (openais_numbers, "OpenAI's own file says quick_gelu, and config.json.* says gelu"),
        (heads_in_open_clips, "2 attention heads of the image tower, and .* has 3|3 attention heads .* has 2"),
    ],
)
def test_a_folder_and_a_file_in_it_are_refused_for_the_same(
    tmp_path: Path, clip: Any, way: Way, spoil: Callable[[Path], None], says: str
) -> None:
    folder = weights.save_transformers(tmp_path, clip)
    if spoil is openais_numbers:
        save_file(weights.state_of(clip), folder / "model.safetensors")
    spoil(folder)
    with pytest.raises(TowersError, match=says):
        way.load(folder)


def test_the_code_of_an_archive_counts_in_a_folder(tmp_path: Path, clip: Any) -> None:
    folder = weights.save_open_clip(tmp_path, clip, quick_gelu=False)
    (folder / "open_clip_model.safetensors").unlink()
    weights.save_archive(folder / "open_clip_pytorch_model.bin", clip, buffers=False)
    with pytest.raises(TowersError, match=r"the code in the file says quick_gelu, and open_clip_config.json says gelu"):
        load_towers(str(folder))


@pytest.mark.parametrize(
    ("image", "text", "runs"),
    [
        ("gelu_pytorch_tanh", "gelu_pytorch_tanh", "gelu_tanh"),
        ("gelu_new", "gelu_pytorch_tanh", "gelu_tanh"),
        ("quick_gelu", "gelu", "quick_gelu in the image tower and gelu in the text tower"),
    ],
)
def test_other_activations_are_said_and_not_overridden(
    tmp_path: Path, clip: Any, image: str, text: str, runs: str
) -> None:
    folder = weights.save_transformers(tmp_path, clip)
    changed(folder / "config.json", lambda found: found["vision_config"].update(hidden_act=image))
    changed(folder / "config.json", lambda found: found["text_config"].update(hidden_act=text))
    towers = load_towers(str(folder))
    assert any(f": {runs} (config.json)" in note for note in towers.notes)
    assert towers.settings()["activation"]["image"] == runs.split(" in ")[0]
    for file in (False, True):
        with pytest.raises(TowersError, match=f"says {runs}, and what is asked for says gelu"):
            Way(file).load(folder, Asked("gelu"))
    with pytest.raises(TowersError, match=f"runs {runs} .config.json beside it.*--towers FOLDER"):
        Way(file=True).load(folder)


def test_an_unknown_activation_is_refused(tmp_path: Path, clip: Any, way: Way) -> None:
    folder = weights.save_transformers(tmp_path, clip)
    changed(folder / "config.json", lambda found: found["vision_config"].update(hidden_act="mish"))
    with pytest.raises(TowersError, match=r"config.json.*activation 'mish' is unknown"):
        way.load(folder, Asked("gelu"))


class Tanh(torch.nn.Module):
    """GELU by its approximation."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.gelu(x, approximate="tanh")


class Both(torch.nn.Module):
    """Two activations."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.gelu(x) + x * torch.sigmoid(1.702 * x)


@pytest.mark.parametrize(("root", "runs"), [(Tanh, "gelu_tanh"), (Both, "gelu.quick_gelu")])
def test_archives_of_other_activations(tmp_path: Path, clip: Any, root: type[torch.nn.Module], runs: str) -> None:
    path = str(weights.save_archive(tmp_path / "w.pt", clip, root, buffers=False))
    with pytest.raises(TowersError, match=f"w.pt runs {runs} .the code in the file"):
        load_towers(weights.NAME, path, asked=PIXELS)
    with pytest.raises(TowersError, match=f"code in the file says {runs}, and what is asked for says gelu"):
        load_towers(weights.NAME, path, asked=Asked("gelu", MEAN_STD["openai"]))


@pytest.mark.parametrize(("quick", "expected"), [(True, "quick_gelu"), (False, "gelu")])
@pytest.mark.filterwarnings("ignore")
def test_traced_archives_tell_their_activation(tmp_path: Path, quick: bool, expected: str) -> None:
    """A traced archive has 1.702 among its constants, and not in its code."""
    model = weights.clip(quick)
    inputs = (torch.randn(1, 3, 32, 32), torch.zeros(1, 20, dtype=torch.long))
    with torch.no_grad():
        torch.jit.trace(model, inputs, check_trace=False, strict=False).save(str(tmp_path / "w.pt"))
    assert read_file(tmp_path / "w.pt").activation == expected
    other = "gelu" if quick else "quick_gelu"
    with pytest.raises(TowersError, match=f"code in the file says {expected}, and what is asked for says {other}"):
        load_towers(weights.NAME, str(tmp_path / "w.pt"), asked=Asked(other, MEAN_STD["openai"]))


def vision(**settings: Any) -> Callable[[Any], object]:
    return lambda found: found["model_cfg"].update(vision_cfg=weights.CONFIG["vision_cfg"] | settings)


def text(**settings: Any) -> Callable[[Any], object]:
    return lambda found: found["model_cfg"].update(text_cfg=weights.CONFIG["text_cfg"] | settings)


@pytest.mark.parametrize("renamed", [False, True], ids=["its name", "another name"])
@pytest.mark.parametrize(
    ("change", "says"),
    [
        (vision(head_width=24), "says 2 attention heads of the image tower, and the name has 3"),
        (text(heads=4), "says 4 attention heads of the text tower, and the name has 2"),
        (vision(norm_kwargs={"eps": 1e-3}), "says 0.001 for layer_norm_eps of the image tower, and the name has 1e-05"),
        (vision(pool_type="avg"), "says avg for pool_type of the image tower, and the name has tok"),
        (text(pool_type="last"), "says last for pool_type of the text tower, and the name has token 49407"),
        (text(pool_type="eos", eos_id=0), "says token 0 for pool_type of the text tower"),
        (text(no_causal_mask=True), "says True for no_causal_mask of the text tower"),
        (vision(layers=5), "says 5 layers of the image tower"),
        (vision(act_kwargs={"approximate": "tanh"}), "act_kwargs"),
        (vision(nonsense=1), "the setting nonsense is none of open_clip's"),
        (lambda found: found.pop("preprocess_cfg") and found["model_cfg"].update(quick_gelu=False), "says gelu"),
    ],
)
def test_a_configuration_beside_a_file_is_that_of_the_name(
    tmp_path: Path, clip: Any, change: Callable[[Any], object], says: str, renamed: bool
) -> None:
    folder = weights.save_open_clip(tmp_path, clip)
    changed(folder / "open_clip_config.json", change)
    path = folder / "open_clip_model.safetensors"
    if renamed:
        path = path.rename(folder / "mine.safetensors")
    with pytest.raises(TowersError, match=says):
        load_towers(weights.QUICK, str(path), asked=PIXELS)


def test_one_thing_may_be_stated_in_two_ways(tmp_path: Path, clip: Any) -> None:
    """CLIP's end token has the largest number; transformers states heads, and open_clip their width."""
    folder = weights.save_open_clip(tmp_path, clip)
    changed(folder / "open_clip_config.json", text(pool_type="eos", eos_id=49407, no_causal_mask=False))
    weights.transformers_of(clip).save_pretrained(folder)
    for file in (False, True):
        assert Way(file).load(folder).settings()["activation"]["image"] == "quick_gelu"


DAMAGED: list[tuple[str, Any, str]] = [
    ("open_clip_config.json", {"model_cfg": weights.CONFIG | {"quick_gelu": "false"}}, "quick_gelu is 'false'"),
    ("open_clip_config.json", {"model_cfg": weights.CONFIG, "preprocess_cfg": [1]}, "preprocess_cfg is no object"),
    ("open_clip_config.json", {"model_cfg": weights.CONFIG, "preprocess_cfg": {"mean": [1, 2, 3]}}, "needs both"),
    (
        "open_clip_config.json",
        {"model_cfg": weights.CONFIG, "preprocess_cfg": {"mean": "abc", "std": [1, 1, 1]}},
        "mean is 'abc', and must be",
    ),
    ("config.json", {"vision_config": [1]}, "vision_config is .1., and must be an object"),
    ("config.json", {"projection_dim": "x"}, "projection_dim is 'x', and must be a whole number"),
    ("config.json", {"text_config": {"num_attention_heads": 0}}, "num_attention_heads is 0"),
    ("config.json", {"text_config": {"num_attention_heads": 7}}, "7 heads do not divide"),
    ("config.json", {"vision_config": {"layer_norm_eps": "1e-5"}}, "layer_norm_eps is '1e-5'"),
    ("config.json", {"vision_config": {"patch_size": 0}}, "patch_size 0 is not one side"),
    ("config.json", {"text_config": {"eos_token_id": [2, 3]}}, "eos_token_id is .2, 3."),
]


@pytest.mark.parametrize(("name", "document", "says"), DAMAGED, ids=[says for _, _, says in DAMAGED])
def test_damaged_configurations(tmp_path: Path, clip: Any, way: Way, name: str, document: Any, says: str) -> None:
    if name == "config.json":
        folder = weights.save_transformers(tmp_path, clip)
        document = json.loads((folder / name).read_text("utf-8")) | document
    else:
        folder = weights.save_open_clip(tmp_path, clip)
    (folder / name).write_text(json.dumps(document), "utf-8")
    with pytest.raises(TowersError, match=f"{name}.*{says}"):
        way.load(folder)


@pytest.mark.parametrize(
    ("name", "document"),
    [
        ("preprocessor_config.json", {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "rescale_factor": 0.00784}),
        ("open_clip_config.json", {"x": 1}),
        ("open_clip_config.json", {"model_cfg": {"vision_cfg": {"layers": [3, 4, 6, 3]}, "text_cfg": {}}}),
        ("open_clip_config.json", {"model_cfg": weights.CONFIG | {"multimodal_cfg": {"width": 8}}}),
        ("open_clip_config.json", {"model_cfg": weights.CONFIG | {"text_cfg": {"hf_model_name": "roberta-base"}}}),
    ],
    ids=["a processor alone", "no configuration", "a ResNet", "CoCa", "a text tower of another library"],
)
def test_files_of_other_models_beside_weights_say_nothing(
    tmp_path: Path, clip: Any, name: str, document: dict[str, Any]
) -> None:
    folder = weights.save_open_clip(tmp_path, clip)
    alone = Way(True).load(folder)
    for file in folder.glob("*.json"):
        file.unlink()
    (folder / name).write_text(json.dumps(document), "utf-8")
    found = Way(True).load(folder, Asked(alone.settings()["activation"]["image"], MEAN_STD["openai"]))
    assert (found.image, found.identity()) == (alone.image, alone.identity())


def test_documents_that_git_lfs_left_out(tmp_path: Path, clip: Any, way: Way) -> None:
    folder = weights.save_transformers(tmp_path, clip)
    (folder / "config.json").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 5\n")
    with pytest.raises(TowersError, match=r"config.json is a pointer of Git LFS.*git lfs pull"):
        way.load(folder)


def test_a_folder_without_mean_and_std_asks_for_them(tmp_path: Path, clip: Any, way: Way) -> None:
    folder = weights.save_open_clip(tmp_path, clip)
    changed(folder / "open_clip_config.json", lambda found: found.pop("preprocess_cfg"))
    with pytest.raises(TowersError, match=r"does not tell the mean and standard deviation.*--mean-std"):
        way.load(folder)
    assert way.load(folder, PIXELS).image.mean == open_clip.OPENAI_DATASET_MEAN


def test_the_layout_whose_weights_are_there_is_taken(tmp_path: Path, clip: Any) -> None:
    folder = weights.save_transformers(weights.save_open_clip(tmp_path, clip), clip)
    both = load_towers(str(folder))
    (folder / "open_clip_model.safetensors").unlink()
    assert load_towers(str(folder)).fingerprint() == both.fingerprint()
