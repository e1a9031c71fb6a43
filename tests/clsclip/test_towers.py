"""Towers against open_clip's own forward passes, and everything that must be refused."""

from __future__ import annotations

from pathlib import Path

import open_clip
import pytest
import torch
from hypothesis import assume, example, given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from clsclip.clip_tokenizer import clip_tokenizer
from clsclip.errors import TowersError
from clsclip.tower_files import WEIGHTS_FILE, load_towers, save_towers
from clsclip.towers import ImageSpec, Towers
from tests.tiny import tiny_config, tiny_towers


def tiny_clip(**text: object) -> torch.nn.Module:
    torch.manual_seed(3)
    config = tiny_config()
    return open_clip.CLIP(**config | {"text_cfg": config["text_cfg"] | text}).eval()  # type: ignore[operator]


@pytest.mark.parametrize("sizes", [(64,), (16, 64), (64, 32), (48, 16, 32, 64, 32)])
def test_resizing_often_equals_resizing_once(sizes: tuple[int, ...]) -> None:
    """Positions come from the table that was trained, and not from what an earlier size left of it."""
    often, once = tiny_towers(), tiny_towers()
    for size in sizes:
        often.resize(size)
    if sizes[-1] != 32:
        once.resize(sizes[-1])
    assert torch.equal(often.visual.positional_embedding, once.visual.positional_embedding)
    assert often.fingerprint() == once.fingerprint()


def changed_clip(**changes: object) -> torch.nn.Module:
    torch.manual_seed(0)
    config = tiny_config()
    parts = {part: config[part] | changes.get(part, {}) for part in ("vision_cfg", "text_cfg")}  # type: ignore[operator]
    quick = bool(changes.get("quick_gelu"))
    return open_clip.CLIP(embed_dim=config["embed_dim"], quick_gelu=quick, **parts).eval()


@pytest.mark.parametrize(
    ("changes", "mean", "filter_"),
    [
        ({"quick_gelu": True}, 0.5, "bicubic"),
        ({"vision_cfg": {"head_width": 24}}, 0.5, "bicubic"),
        ({"text_cfg": {"heads": 4}}, 0.5, "bicubic"),
        ({"text_cfg": {"no_causal_mask": True}}, 0.5, "bicubic"),
        ({"vision_cfg": {"norm_kwargs": {"eps": 1e-6}}}, 0.5, "bicubic"),
        ({"text_cfg": {"eos_id": 7}}, 0.5, "bicubic"),
        ({}, 0.48, "bicubic"),
        ({}, 0.5, "bilinear"),
    ],
    ids=str,
)
def test_fingerprints_see_all_that_changes_results(changes: dict[str, object], mean: float, filter_: str) -> None:
    """The same weights, and something else that decides what they compute: another fingerprint."""
    spec = ImageSpec(32, (mean, 0.5, 0.5), (0.25, 0.25, 0.25), filter_)
    other = Towers(changed_clip(**changes), tiny_towers().tokenizer, spec, "other").requires_grad_(False).eval()
    assert other.weights_digest() == tiny_towers().weights_digest()
    assert other.fingerprint() != tiny_towers().fingerprint()


def test_fingerprints_see_the_tokenizer() -> None:
    spec = tiny_towers().image
    other = Towers(changed_clip(), clip_tokenizer(), spec, "other").requires_grad_(False).eval()
    assert other.weights_digest() == tiny_towers().weights_digest()
    assert other.fingerprint() != tiny_towers().fingerprint()


@pytest.mark.parametrize("quick_gelu", [False, True])
@pytest.mark.parametrize("custom_text", [False, True])
def test_features_equal_open_clip(quick_gelu: bool, custom_text: bool) -> None:
    torch.manual_seed(1)
    kind = open_clip.CustomTextCLIP if custom_text else open_clip.CLIP
    clip = kind(**tiny_config(), quick_gelu=quick_gelu).eval()
    towers = Towers(clip, tiny_towers().tokenizer, ImageSpec(32, (0, 0, 0), (1, 1, 1)), "tiny").eval()
    images, ids = torch.randn(3, 3, 32, 32), towers.tokenize(["a dog", "a potted plant", "ferris wheel"])
    with torch.no_grad():
        image, _ = towers.features(towers.run_layers(towers.embed(images), 0, towers.layers))
        text = towers.text_features(towers.text_tokens(ids))
        torch.testing.assert_close(image, clip.encode_image(images, normalize=True), atol=1e-6, rtol=0)
        torch.testing.assert_close(text, clip.encode_text(ids, normalize=True), atol=1e-6, rtol=0)


def test_position_embeddings_resample_to_any_multiple() -> None:
    towers = tiny_towers()
    towers.resize(64)
    assert towers.grid == 8
    assert towers.embed(torch.zeros(1, 3, 64, 64)).shape == (1, 65, towers.width)
    with pytest.raises(TowersError, match="not a multiple of the patch"):
        towers.resize(60)


def test_save_and_load_keep_every_bit(tmp_path: Path) -> None:
    towers = tiny_towers()
    save_towers(towers, tiny_config(), tmp_path)
    loaded = load_towers(str(tmp_path))
    assert loaded.fingerprint() == towers.fingerprint()
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    reference = open_clip.create_model("local-dir:" + str(tmp_path)).eval()  # open_clip reads the same folder
    images = torch.randn(2, 3, 32, 32)
    ours, _ = loaded.features(loaded.run_layers(loaded.embed(images), 0, loaded.layers))
    torch.testing.assert_close(ours, reference.encode_image(images, normalize=True), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("RN50", "plain ViT"),
        ("ViT-B-16-SigLIP", "plain ViT"),
        ("coca_ViT-B-32", "CoCa"),
        ("xlm-roberta-base-ViT-B-32", "not open_clip's own"),
        ("no-such-model", "neither a folder"),
    ],
)
def test_other_towers_are_refused(name: str, says: str) -> None:
    with pytest.raises(TowersError, match=says):
        load_towers(name)


def test_unknown_tag_lists_the_known() -> None:
    with pytest.raises(TowersError, match="openai"):
        load_towers("ViT-B-16", "no-such-tag")


def test_bad_weight_files(tmp_path: Path) -> None:
    save_towers(tiny_towers(), tiny_config(), tmp_path)
    weights = tmp_path / WEIGHTS_FILE
    good = load_file(weights)
    name = sorted(good)[0]
    for bad, says in (
        ({key: value for key, value in good.items() if key != name}, f"lacks the weight {name}"),
        (good | {"extra": torch.zeros(1)}, "has the weight extra"),
        (good | {name: torch.zeros(1, 2, 3)}, "has shape"),
        (good | {name: good[name] * float("nan")}, "NaN"),
    ):
        save_file(bad, weights)
        with pytest.raises(TowersError, match=says):
            load_towers(str(tmp_path))
    weights.write_bytes(b"\x10\0\0\0\0\0\0\0{broken")
    with pytest.raises(TowersError, match="cannot be read"):
        load_towers(str(tmp_path))


CLIP_TOKENIZER = clip_tokenizer()
CLIP_IDS = open_clip.get_tokenizer("ViT-B-16")


@example("![")
@given(st.text(st.characters(min_codepoint=32, max_codepoint=0x24F, blacklist_characters="&<>\x7f"), max_size=40))
def test_clip_tokenizer_equals_open_clips(word: str) -> None:
    # open_clip first repairs broken Unicode and HTML entities (ftfy); compare only what that leaves as it is.
    import ftfy

    assume(ftfy.fix_text(word) == word and not any(0x7F <= ord(letter) <= 0x9F for letter in word))
    ids = CLIP_IDS([word], context_length=200)[0].tolist()
    # 0 pads, but it is also the exclamation mark: the end token tells where the text ends.
    assert CLIP_TOKENIZER.encode(word).ids == ids[: ids.index(49407) + 1]


def test_fingerprints_do_not_depend_on_how_positions_are_interpolated(monkeypatch: pytest.MonkeyPatch) -> None:
    from clsclip import towers as module

    native, first, second, larger = (tiny_towers() for _ in range(4))
    first.resize(64)
    larger.resize(48)
    exact = module.interpolate
    monkeypatch.setattr(module, "interpolate", lambda *given, **options: exact(*given, **options) * (1 + 1e-6))
    second.resize(64)
    assert not torch.equal(first.visual.positional_embedding, second.visual.positional_embedding)
    assert first.fingerprint() == second.fingerprint()
    assert len({native.fingerprint(), first.fingerprint(), larger.fingerprint()}) == 3
    changed = tiny_towers(seed=1)
    changed.resize(64)
    assert changed.fingerprint() != first.fingerprint()


def test_tags_are_spelled_as_open_clip_takes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(name: str, pretrained: str, **_: object) -> object:
        raise OSError(f"no network for {pretrained}")

    monkeypatch.setattr(open_clip, "create_model", offline)
    for spelled, tag in (("OpenAI", "openai"), ("laion2b-s34b-b88k", "laion2b_s34b_b88k")):
        with pytest.raises(TowersError, match=f"weights {tag} of ViT-B-16 could not be loaded: no network for {tag}"):
            load_towers("ViT-B-16", spelled)
