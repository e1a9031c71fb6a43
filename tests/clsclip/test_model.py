"""ClsCLIP against a naive loop over open_clip's own layers, and checkpoints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from clsclip.checkpoint import FORMAT, load_checkpoint, read_header, save_checkpoint
from clsclip.errors import CheckpointError
from clsclip.model import ClsClip, ModelConfig
from clsclip.tower_files import save_towers
from clsclip_runtime.renamed import old_names
from tests.tiny import tiny_config, tiny_model, tiny_towers


def naive_patches(model: ClsClip, image: torch.Tensor, word: torch.Tensor) -> torch.Tensor:
    """E_N of one picture and one word, as section 3.2 says it, with open_clip's own blocks."""
    tokens = model.towers.embed(image.unsqueeze(0))
    for index, layer in enumerate(model.towers.visual.transformer.resblocks):
        if index in model.config.navigation_layers:
            tokens = tokens.clone()
            tokens[:, 0] = model.maps[str(index)](word)
        tokens = layer(tokens)
    return tokens[:, 1:]


@pytest.mark.parametrize("navigation", [(2, 3, 4), (0, 1, 2), (1, 4), (5,)])
def test_shared_stem_equals_one_pair_at_a_time(navigation: tuple[int, ...]) -> None:
    model = tiny_model(navigation_layers=navigation)
    images, words = torch.randn(2, 3, 32, 32), torch.randn(3, model.towers.text_width)
    crops, classes = torch.tensor([0, 1, 1, 0, 0]), torch.tensor([2, 0, 1, 1, 2])
    with torch.no_grad():
        logits = model(images, words, crops, classes)
        assert logits.shape == (5, 16, 16)
        for row, (crop, word) in enumerate(zip(crops, classes, strict=True)):
            patches = naive_patches(model, images[crop], words[word])
            expected = model.decoder(patches, words[word : word + 1], None)
            torch.testing.assert_close(logits[row : row + 1], expected, atol=1e-5, rtol=0)


def test_cells_of_the_decoder_lie_where_their_patch_is() -> None:
    model = tiny_model()
    with torch.no_grad():
        model.decoder.layers = torch.nn.ModuleList()
        model.decoder.ln_out = torch.nn.Identity()  # type: ignore[assignment]
        model.decoder.ln_in = torch.nn.Identity()  # type: ignore[assignment]
        model.decoder.head.weight.zero_()
        model.decoder.head.bias.copy_(torch.arange(16.0))
        model.decoder.head.weight[:, 0] = 100
        patches = torch.zeros(1, 16, model.towers.width)
        patches[0, :, 0] = torch.arange(16.0)
        logits = model.decoder(patches, torch.zeros(1, model.towers.text_width), None)[0]
    # row 5, column 10: patch (1, 2) of a 4 x 4 grid, cell (1, 2) inside it
    assert logits[5, 10].item() == 100 * (1 * 4 + 2) + (1 * 4 + 2)


def test_variants_see_their_extra_inputs() -> None:
    for inputs in (("text_token",), ("similarity",), ("text_token", "similarity")):
        model = tiny_model(decoder_inputs=inputs)
        assert model.config.variant == "+".join(inputs)
        logits = model(torch.randn(1, 3, 32, 32), torch.randn(2, 32), torch.tensor([0, 0]), torch.tensor([0, 1]))
        assert logits.shape == (2, 16, 16)


def test_towers_are_frozen() -> None:
    model = tiny_model()
    assert not any(parameter.requires_grad for parameter in model.towers.parameters())
    assert all(parameter.requires_grad for name, parameter in model.named_parameters() if "towers" not in name)


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"navigation_layers": ()}, "at least one"),
        ({"navigation_layers": (2, 2)}, "different"),
        ({"navigation_layers": (6,)}, "between 0 and 5"),
        ({"decoder_inputs": ("magic",)}, "Unknown decoder inputs"),
        ({"decoder_heads": 5}, "do not divide"),
    ],
)
def test_impossible_settings_are_refused(config: dict[str, object], says: str) -> None:
    with pytest.raises(CheckpointError, match=says):
        tiny_model(**config)


def saved(tmp_path: Path) -> Path:
    save_towers(tiny_towers(), tiny_config(), tmp_path / "towers")
    save_checkpoint(tiny_model(), tmp_path / "last.safetensors", "towers", {"steps": 3})
    return tmp_path / "last.safetensors"


def test_checkpoint_round_trip(tmp_path: Path) -> None:
    model, header = load_checkpoint(saved(tmp_path))
    assert header["provenance"] == {"steps": 3}
    for name, value in tiny_model().learned_state().items():
        assert torch.equal(value, model.learned_state()[name])
    assert not any(name.startswith("towers.") for name in load_file(tmp_path / "last.safetensors"))
    assert not list(tmp_path.glob("*.part"))


def test_checkpoint_of_other_towers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="fingerprint"):
        load_checkpoint(saved(tmp_path), tiny_towers(seed=9))


def test_damaged_checkpoints(tmp_path: Path) -> None:
    path = saved(tmp_path)
    towers = tiny_towers()
    with pytest.raises(CheckpointError, match="No checkpoint"):
        load_checkpoint(tmp_path / "absent.safetensors", towers)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_checkpoint(path, towers)
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match=FORMAT):
        load_checkpoint(path, towers)
    model = ClsClip(tiny_towers(), ModelConfig())
    torch.nn.init.constant_(model.decoder.head.bias, float("nan"))
    save_checkpoint(model, path, "towers", {})
    with pytest.raises(CheckpointError, match=r"decoder\.head\.bias holds NaN"):
        load_checkpoint(path, towers)


def test_a_header_of_0_1_is_read_by_the_names_of_now(tmp_path: Path) -> None:
    old = next(one for one in old_names("manifest") if one.startswith("provenance."))
    new = old_names("manifest")[old].rpartition(".")[2]
    given = {old.rpartition(".")[2]: {"weights": "MIT", "notes": []}, "steps": 3}
    save_checkpoint(tiny_model(), tmp_path / "last.safetensors", "towers", given)
    assert read_header(tmp_path / "last.safetensors")["provenance"] == {new: given[old.rpartition(".")[2]], "steps": 3}


def test_the_checkpoints_of_the_sticker_world_have_the_names_of_now() -> None:
    folder = Path(__file__).parents[2] / "models" / "stickers"
    old = {one.rpartition(".")[2] for one in old_names("manifest")}
    for name in ("last", "exact"):
        with safe_open(str(folder / f"{name}.safetensors"), framework="pt") as opened:
            provenance = json.loads(opened.metadata()["provenance"])
        assert not old & set(provenance)
        assert provenance["license"]["weights"] == "Apache-2.0"
