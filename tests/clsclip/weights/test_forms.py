"""The same CLIP from every form in which people have it; the flavor that it was trained in; and what is refused."""

from __future__ import annotations

import argparse
import json
import pickle
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from safetensors.torch import save_file

from clsclip.clipseg_files import load_clipseg
from clsclip.errors import TowersError
from clsclip.tower_files import load_towers, read_weights
from clsclip.towers import Towers
from clsclip.weights.files import read_file
from clsclip.weights.flavor import MEAN_STD, Asked
from clsclip.weights.names import OPENAI_KEYS
from tests import clipseg, weights

QUICK, PIXELS = Asked("quick_gelu", MEAN_STD["openai"]), Asked(None, MEAN_STD["openai"])


def saved(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


def safetensors(path: Path, state: dict[str, torch.Tensor]) -> Path:
    save_file(state, path)
    return path


def prefixed(clip: Any, prefix: str) -> dict[str, torch.Tensor]:
    return {f"{prefix}{name}": value for name, value in weights.state_of(clip).items()}


def trainers(clip: Any) -> dict[str, Any]:
    """A checkpoint with settings and an optimizer beside the weights."""
    settings = argparse.Namespace(lr=1e-3, path=Path("x"), betas=(0.9, 0.98))
    optimizer = {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 0.1}]}
    return {"state_dict": prefixed(clip, "module."), "args": settings, "optimizer": optimizer, "epoch": 3}


FORMS: dict[str, Callable[[Path, Any], Path]] = {
    "safetensors": lambda folder, clip: safetensors(folder / "w.safetensors", weights.state_of(clip)),
    "another suffix": lambda folder, clip: safetensors(folder / "w.bin", weights.state_of(clip)),
    "module.": lambda folder, clip: saved(folder / "w.pt", {"state_dict": prefixed(clip, "module."), "epoch": 3}),
    "_orig_mod.": lambda folder, clip: saved(folder / "w.pt", prefixed(clip, "_orig_mod.")),
    "module._orig_mod.": lambda folder, clip: saved(folder / "w.pt", prefixed(clip, "module._orig_mod.")),
    "model.": lambda folder, clip: saved(folder / "w.pt", {"state_dict": prefixed(clip, "model.")}),
    "{model}": lambda folder, clip: saved(folder / "w.pt", {"model": weights.state_of(clip)}),
    "settings": lambda folder, clip: saved(folder / "w.ckpt", trainers(clip)),
    "whole model": lambda folder, clip: saved(folder / "w.pt", clip),
    "old pickle": lambda folder, clip: old(folder / "w.pt", weights.state_of(clip)),
    "TorchScript": lambda folder, clip: weights.save_archive(folder / "w.pt", clip),
    "TorchScript, no numbers": lambda folder, clip: weights.save_archive(folder / "w.pt", clip, buffers=False),
    "transformers": lambda folder, clip: hugging_face(folder / "w.safetensors", clip, ""),
    "transformers, model.": lambda folder, clip: hugging_face(folder / "w.safetensors", clip, "model."),
}


def old(path: Path, state: dict[str, torch.Tensor]) -> Path:
    torch.save({"state_dict": state}, path, _use_new_zipfile_serialization=False)
    return path


def hugging_face(path: Path, clip: Any, prefix: str) -> Path:
    state = weights.transformers_of(clip).state_dict()
    return safetensors(path, {f"{prefix}{name}": value.contiguous() for name, value in state.items()})


def compared(towers: Towers, clip: Any, size: int = 32) -> None:
    """Towers against open_clip's own forward passes."""
    pixels, ids = torch.randn(2, 3, size, size), towers.tokenize(["a cat", "a wooden chair"])
    with torch.no_grad():
        image, _ = towers.features(towers.run_layers(towers.embed(pixels), 0, towers.layers))
        tokens = towers.text_tokens(ids)
        torch.testing.assert_close(image, clip.encode_image(pixels, normalize=True), atol=1e-5, rtol=0)
        text = towers.text_features(tokens)
        torch.testing.assert_close(text, clip.encode_text(ids, normalize=True), atol=1e-5, rtol=0)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_the_same_model(tmp_path: Path, clip: Any, form: str) -> None:
    path = FORMS[form](tmp_path, clip)
    towers = load_towers(weights.NAME, str(path), asked=QUICK)
    compared(towers, clip)
    reference = weights.save_open_clip(tmp_path / "folder", clip)
    assert towers.fingerprint() == load_towers(str(reference)).fingerprint()
    assert towers.settings()["activation"] == {"image": "quick_gelu", "text": "quick_gelu"}
    assert any("quick_gelu" in note for note in towers.notes)


def test_folders_and_archives_tell_their_activation(tmp_path: Path, clip: Any) -> None:
    """Nothing is asked: code, OpenAI's numbers and configurations say which activation it is."""
    exact = weights.clip(quick_gelu=False)
    ours = weights.save_open_clip(tmp_path / "open_clip", clip)
    theirs = weights.save_transformers(tmp_path / "transformers", clip)
    plain = weights.save_transformers(tmp_path / "gelu", exact, quick_gelu=False)
    numbers = {"input_resolution": torch.tensor(32), "context_length": torch.tensor(20), "vocab_size": torch.tensor(9)}
    openai = safetensors(tmp_path / "openai.safetensors", weights.state_of(clip) | numbers)
    script = weights.save_archive(tmp_path / "script.pt", exact, weights.Exact, buffers=False)
    bare = safetensors(tmp_path / "bare.safetensors", weights.state_of(clip))
    quick = [
        load_towers(str(ours)),
        load_towers(str(theirs)),
        load_towers(weights.NAME, str(ours / "open_clip_model.safetensors")),
        load_towers(weights.NAME, str(theirs / "model.safetensors")),
        load_towers(weights.NAME, str(openai)),
        load_towers(weights.QUICK, str(bare), asked=PIXELS),
    ]
    assert len({one.fingerprint() for one in quick}) == 1
    for one in quick:
        compared(one, clip)
    others = [load_towers(str(plain)), load_towers(weights.NAME, str(script), asked=PIXELS)]
    assert len({one.fingerprint() for one in others}) == 1
    for one in others:
        compared(one, exact)
        assert one.weights_digest() == quick[0].weights_digest() and one.fingerprint() != quick[0].fingerprint()


WRONG: list[tuple[str, str, Asked, str]] = [
    ("bare", weights.NAME, Asked(), "does not tell whether it runs GELU or QuickGELU.*--activation quick_gelu"),
    ("bare", weights.QUICK, Asked("gelu"), "the name .* says quick_gelu, and what is asked for says gelu"),
    ("archive", weights.NAME, Asked("gelu"), "the code in the file says quick_gelu"),
    ("openai", weights.NAME, Asked("gelu"), "OpenAI's own file says quick_gelu"),
    ("openai", weights.NAME, Asked(None, MEAN_STD["inception"]), "says mean and std of openai"),
    ("folder", weights.NAME, Asked("gelu"), "open_clip_config.json beside it says quick_gelu"),
    ("gelu folder", weights.QUICK, Asked(), "beside it says gelu, and the name .* says quick_gelu"),
    ("heads", weights.NAME, Asked(), "says 2 attention heads of the image tower, and the name has 3"),
]


@pytest.mark.parametrize(
    ("kind", "name", "asked", "says"), WRONG, ids=[f"{kind}, {say[:30]}" for kind, _, _, say in WRONG]
)
def test_wrong_combinations(tmp_path: Path, clip: Any, kind: str, name: str, asked: Asked, says: str) -> None:
    state = weights.state_of(clip)
    if kind == "bare":
        path = safetensors(tmp_path / "w.safetensors", state)
    elif kind == "archive":
        path = weights.save_archive(tmp_path / "w.pt", clip)
    elif kind == "openai":
        numbers = dict.fromkeys(OPENAI_KEYS, torch.tensor(32))
        path = safetensors(tmp_path / "w.safetensors", state | {name: value.clone() for name, value in numbers.items()})
    else:
        more: dict[str, Any] = {"gelu folder": {"quick_gelu": False}}.get(kind, {})
        if kind == "heads":
            more = {"vision_cfg": weights.CONFIG["vision_cfg"] | {"head_width": 24}}
        path = weights.save_open_clip(tmp_path / "folder", clip, **more) / "open_clip_model.safetensors"
    with pytest.raises(TowersError, match=says):
        load_towers(name, str(path), asked=asked)


def test_a_folder_is_not_asked_for_something_else(tmp_path: Path, clip: Any) -> None:
    folder = weights.save_open_clip(tmp_path / "folder", clip)
    with pytest.raises(TowersError, match=r"open_clip_config.json says quick_gelu, and what is asked for says gelu"):
        load_towers(str(folder), asked=Asked("gelu"))
    with pytest.raises(
        TowersError, match="mean and std of openai, and what is asked for says mean and std of imagenet"
    ):
        load_towers(str(folder), asked=Asked(None, MEAN_STD["imagenet"]))
    with pytest.raises(TowersError, match="brings its own weights"):
        load_towers(str(folder), "openai")


def test_names_whose_tags_differ_in_mean_and_std_are_asked(tmp_path: Path) -> None:
    """ViT-L-14 has weights with a mean of 0.5 among its tags: a file of it must say which it is."""
    from clsclip.weights.flavor import choose, told_by_name, told_by_tag

    told = [told_by_name("ViT-L-14")]
    with pytest.raises(TowersError, match=r"does not tell the mean and standard deviation.*--mean-std openai or"):
        choose(told, Asked("gelu"), "ViT-L-14", "w.pt")
    chosen = choose([told_by_tag("ViT-L-14", "laion2b_s32b_b82k")], Asked(), "ViT-L-14", "w.pt")
    assert (chosen.activation, chosen.mean_std.name) == ("gelu", "inception")
    chosen = choose([told_by_tag("ViT-B-16", "openai")], Asked(), "ViT-B-16", "w.pt")
    assert (chosen.activation, chosen.mean_std.name) == ("quick_gelu", "openai")


ZERO = torch.zeros(2)
HF_PATCHES = "vision_model.embeddings.patch_embedding.weight"
OTHERS: dict[str, tuple[Any, str]] = {
    "SigLIP": ({"visual.trunk.blocks.0.attn.qkv.weight": ZERO, "logit_bias": ZERO}, "SigLIP"),
    "SigLIP of transformers": ({"vision_model.head.probe": ZERO, HF_PATCHES: ZERO}, "SigLIP"),
    "ResNet": ({"visual.layer1.0.conv1.weight": ZERO}, "ResNet"),
    "EVA": ({"visual.blocks.0.attn.proj.weight": ZERO, "visual.cls_token": ZERO}, "EVA-CLIP"),
    "CoCa": ({"visual.conv1.weight": ZERO, "text_decoder.ln_final.weight": ZERO}, "CoCa"),
    "timm": ({"blocks.0.attn.qkv.weight": ZERO, "cls_token": ZERO}, "ViT alone"),
    "image tower": ({HF_PATCHES: ZERO}, "image tower of a CLIP alone"),
    "CLIPSeg": ({f"clip.{HF_PATCHES}": ZERO, "decoder.film_mul.weight": ZERO}, "--clipseg"),
    "ClsCLIP": ({"maps.2.weight": ZERO, "decoder.head.weight": ZERO}, "--ckpt"),
    "two": ({"model": {"visual.conv1.weight": ZERO}, "ema": {"visual.conv1.weight": ZERO + 1}}, "holds 2 models"),
    "twice": ({"module.a": ZERO, "a": ZERO}, "twice"),
    "nothing": ({}, "no tensors"),
    "else": ({"layer.weight": ZERO}, "none of them a CLIP's"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_other_models_are_named(tmp_path: Path, kind: str) -> None:
    content, says = OTHERS[kind]
    with pytest.raises(TowersError, match=says):
        read_weights(saved(tmp_path / "w.pt", content))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 5\n", "pointer of Git LFS.*git lfs pull"),
        (b"<!DOCTYPE html><html>404</html>", "web page"),
        (b"\n <html><body>", "web page"),
        (b'{"model_type": "clip"}', "JSON document"),
        (b"", "is empty"),
        (b"\x89HDF\r\n\x1a\n", "Keras"),
        (b"GGUF\x03\0\0\0", "GGUF"),
        (b"\x1f\x8b\x08\0", "gzip"),
        (b"PK\x03\x04 cut", "cannot be read as weights: it is a damaged zip"),
        (b"random noise\0", "neither safetensors nor an archive"),
        (b"\x10\0\0\0\0\0\0\0{broken", "cannot be read as weights"),
    ],
)
def test_other_files_are_named(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "w.safetensors").write_bytes(content)
    (tmp_path / "w.pt").write_bytes(content)
    with pytest.raises(TowersError, match=says):
        read_weights(tmp_path / "w.pt")
    if not content.startswith(b"random"):
        with pytest.raises(TowersError, match=says):
            read_weights(tmp_path / "w.safetensors")


class Boom:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (Path("boom"),))


def test_nothing_in_a_file_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clip: Any) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evil.pt").write_bytes(pickle.dumps({"weight": Boom()}))
    with pytest.raises(TowersError, match="pickles can run code"):
        read_weights(tmp_path / "evil.pt")
    saved(
        tmp_path / "zip.pt", {"state_dict": weights.state_of(clip), "args": Boom(), "more": types.SimpleNamespace(a=1)}
    )
    assert "visual.conv1.weight" in read_weights(tmp_path / "zip.pt").state
    assert not (tmp_path / "boom").exists()


def test_archives_give_what_torch_saved(tmp_path: Path) -> None:
    """Views, strides, offsets, types and shared memory, against the tensors themselves."""
    base = torch.arange(24.0).reshape(4, 6)
    content = {
        **{
            "whole": base,
            "view": base[1:3, ::2],
            "turned": base.T,
            "none": torch.zeros(0, 3),
            "number": torch.tensor(7),
        },
        **{"half": base.half(), "bf16": base.bfloat16(), "long": torch.arange(5), "flags": torch.tensor([True, False])},
        "nested": {"list": [base[0], {"deep": base[:, 1]}]},
    }
    found = read_file(saved(tmp_path / "w.pt", content)).tensors
    flat = {name: value for name, value in content.items() if name != "nested"}
    flat |= {"nested.list.0": base[0], "nested.list.1.deep": base[:, 1]}
    assert found.keys() == flat.keys()
    for name, value in flat.items():
        assert torch.equal(found[name], value) and found[name].dtype == value.dtype, name


def test_damaged_archives(tmp_path: Path, clip: Any) -> None:
    """Bytes changed and cut anywhere: an error that names the file, or the same tensors; never another exception."""
    path = saved(tmp_path / "w.pt", {"state_dict": {"visual.conv1.weight": torch.arange(600.0)}, "epoch": 3})
    good = path.read_bytes()
    generator = torch.Generator().manual_seed(0)
    for _ in range(150):
        at = int(torch.randint(len(good), (1,), generator=generator))
        changed = bytearray(good)
        changed[at] ^= 1 << int(torch.randint(8, (1,), generator=generator))
        for content in (bytes(changed), good[:at]):
            path.write_bytes(content)
            try:
                read_file(path)
            except TowersError as error:
                assert "w.pt" in str(error)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("ViT-B/16", "Did you mean --towers ViT-B-16"),
        ("vit-b-16", "Did you mean --towers ViT-B-16"),
        ("no-such-model", "neither a folder"),
    ],
)
def test_names_that_are_nearly_right(name: str, says: str) -> None:
    with pytest.raises(TowersError, match=says):
        load_towers(name)


def hub(root: Path, name: str) -> Path:
    """The snapshot's folder of a name in a hub's cache."""
    place = root / f"models--{name.replace('/', '--')}"
    revision = "0123456789abcdef0123456789abcdef01234567"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text(revision)
    return place / "snapshots" / revision


def test_names_on_a_hub_load_from_its_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clip: Any) -> None:
    """Published names and layouts, offline, with random weights: the same towers from each of them."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    openai, laion = "openai/clip-vit-base-patch16", "laion/CLIP-ViT-B-16-laion2B-s34B-b88K"
    weights.save_transformers(hub(tmp_path, openai), clip)
    weights.save_open_clip(hub(tmp_path, laion), clip)
    clipseg.save(clipseg.reference(**clipseg.TINY), hub(tmp_path, "CIDAS/clipseg-rd64-refined"))
    model, source = load_clipseg("CIDAS/clipseg-rd64-refined")
    assert model.towers.image.size == 48 and source.license == "apache-2.0" and source.revision is not None
    found = [load_towers(one) for one in (openai, f"hf:{openai}", f"hf-hub:{laion}")]
    assert len({one.fingerprint() for one in found}) == 1
    assert found[0].name == openai
    for one in found:
        compared(one, clip)
    with pytest.raises(TowersError, match="could not be fetched"):
        load_towers("nobody/nothing")
    (hub(tmp_path, "a/bert")).mkdir(parents=True)
    (tmp_path / "models--a--bert/snapshots/0123456789abcdef0123456789abcdef01234567/config.json").write_text(
        json.dumps({"model_type": "bert"}), "utf-8"
    )
    with pytest.raises(TowersError, match="describes a 'bert' model"):
        load_towers("a/bert")


@pytest.mark.slow
def test_published_sizes_load_from_the_hubs_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The published names, layouts and sizes, offline, with random weights: equal towers from each, and CLIPSeg's."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    config = open_clip.get_model_config("ViT-B-16")
    large = weights.clip(config=config)
    openai, laion = "openai/clip-vit-base-patch16", "laion/CLIP-ViT-B-16-laion2B-s34B-b88K"
    weights.save_transformers(hub(tmp_path / "hub", openai), large)
    weights.save_open_clip(hub(tmp_path / "hub", laion), large, config)
    files = [
        safetensors(tmp_path / "w.safetensors", weights.state_of(large)),
        saved(tmp_path / "w.pt", {"state_dict": prefixed(large, "module.")}),
        weights.save_archive(tmp_path / "jit.pt", large),
        hugging_face(tmp_path / "hf.safetensors", large, ""),
    ]
    found = [load_towers(openai), load_towers(f"hf:{laion}")]
    found += [load_towers("ViT-B-16", str(path), asked=QUICK) for path in files]
    assert len({one.fingerprint() for one in found}) == 1
    assert found[0].settings()["activation"] == {"image": "quick_gelu", "text": "quick_gelu"}
    compared(found[0], large, 224)
    rd64 = {"vision_config": {"patch_size": 16}, "reduce_dim": 64, "use_complex_transposed_convolution": True}
    published = "CIDAS/clipseg-rd64-refined"
    clipseg.save(clipseg.reference(**rd64), hub(tmp_path / "hub", published), 352)
    model, source = load_clipseg(published)
    assert model.towers.image.size == 352 and source.license == "apache-2.0" and source.revision is not None


def test_positions_of_another_size_are_the_files_own(tmp_path: Path, clip: Any) -> None:
    """A file of the same architecture at another image size says so by its table of positions."""
    config = weights.CONFIG | {"vision_cfg": weights.CONFIG["vision_cfg"] | {"image_size": 48}}
    torch.manual_seed(0)
    larger = open_clip.CLIP(**config, quick_gelu=True).eval()
    towers = load_towers(
        weights.NAME, str(safetensors(tmp_path / "w.safetensors", weights.state_of(larger))), asked=QUICK
    )
    assert (towers.image.size, towers.grid) == (48, 6)
