"""CLIPSeg's bundles against transformers itself: random weights, every configuration, two sizes; what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from safetensors.torch import load_file, save_file

from clsclip.clipseg_files import load_clipseg, read_license
from clsclip.errors import TowersError
from clsclip.photographs import photographs
from clsclip_export.architectures import architecture_of
from clsclip_export.bundle import write_bundle
from clsclip_export.calibration import Calibration
from clsclip_export.check_data import CheckData
from clsclip_export.cli import command
from clsclip_export.int8_bundle import quantize_bundle
from clsclip_export.options import BundleOptions
from clsclip_export.parity import TOLERANCE
from clsclip_export.profiles import Profile
from clsclip_runtime import Segmenter
from tests import clipseg

WORDS = ("cat", "a wooden chair", "sky", "bicycle", "bottle", "the face of a person", "coin", "grass")
PUBLISHED = {
    "rd64-refined": {"reduce_dim": 64, "use_complex_transposed_convolution": True},
    "rd16": {"reduce_dim": 16, "use_complex_transposed_convolution": False},
}

COMPLEX = {"use_complex_transposed_convolution": True}


@pytest.mark.parametrize(
    "changed",
    [
        {},
        COMPLEX,
        {"extract_layers": [3], "conditional_layer": 0, "reduce_dim": 12},
        {"extract_layers": [0, 1, 3], "conditional_layer": 2},
        {"vision_config": clipseg.TINY["vision_config"] | {"hidden_act": "gelu", "layer_norm_eps": 1e-3}},
        {"text_config": clipseg.TINY["text_config"] | {"eos_token_id": 2, "layer_norm_eps": 1e-3}},
    ],
    ids=str,
)
def test_every_configuration_computes_what_transformers_does(tmp_path: Path, changed: dict[str, Any]) -> None:
    theirs = clipseg.reference(**clipseg.TINY | changed)
    ours, source = load_clipseg(str(clipseg.save(theirs, tmp_path)))
    assert source.license == "apache-2.0" and source.revision is None
    assert ours.towers.image.mean == tuple(clipseg.MEAN)
    pixels = torch.randn(2, 3, 48, 48)
    ids = ours.towers.tokenize(["cat", "a wooden chair", "sky"])
    with torch.no_grad():
        text, feature = ours.encode_text(ids)
        index = torch.arange(6)
        found = ours(pixels, text, index // 3, index % 3).reshape(2, 3, *architecture_of(ours).mask_size)
        image = theirs.clip.get_image_features(pixels).pooler_output
        own = torch.nn.functional.normalize(theirs.clip.get_text_features(ids).pooler_output, dim=-1)
        trunk = next(one for one in architecture_of(ours).graphs() if one.file == "trunk.onnx")
        as_product, as_written = trunk.module(*trunk.inputs.values()), trunk.reference(*trunk.inputs.values())
    expected = clipseg.logits_of(theirs, pixels, ids)
    assert 0.05 < float((expected > 0).float().mean()) < 0.95 and float(expected.std()) > 0.3
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-5)
    torch.testing.assert_close(as_product, as_written, atol=2e-5, rtol=1e-5)
    torch.testing.assert_close(feature, own, atol=1e-6, rtol=0)
    normal = torch.nn.functional.normalize(image, dim=-1)
    torch.testing.assert_close(ours.encode_image(pixels)[-2], normal, atol=1e-6, rtol=0)


@pytest.mark.parametrize("changed", [pytest.param({}, marks=pytest.mark.slow), COMPLEX], ids=["simple", "complex"])
def test_bundle_draws_what_transformers_does(tmp_path: Path, changed: dict[str, Any]) -> None:
    theirs = clipseg.reference(**clipseg.TINY | changed)
    folder, out = clipseg.save(theirs, tmp_path / "weights"), tmp_path / "clipseg.clsclip"
    done = CliRunner().invoke(command, ["--clipseg", str(folder), "--out", str(out), *PROFILE])
    assert done.exit_code == 0, done.output
    assert "presence was fitted on nothing" in done.output and "license" not in done.output
    manifest = json.loads((out / "manifest.json").read_text("utf-8"))
    assert manifest["license"]["weights"] == "apache-2.0"
    assert manifest["image"] == {
        **{"size": 48, "mean": clipseg.MEAN, "std": clipseg.STD, "resize": "squash", "interpolation": "bilinear"}
    }
    assert manifest["mask"]["threshold"] == 0.5 and manifest["presence"]["threshold"] == 0
    compared(out, theirs, photographs()[:2], WORDS[:3], ("onnxruntime-cpu",))


PROFILE = ("--crops", "1,1,2", "--classes", "1,2,3", "--pairs", "1,2,4")


def compared(out: Path, theirs: Any, images: list[Any], words: tuple[str, ...], backends: tuple[str, ...]) -> None:
    """Compare a bundle with transformers on pictures and words, which are asked of it once for all backends."""
    expected: list[np.ndarray[Any, Any]] = []
    for backend in backends:
        with Segmenter.load(out, backend) as segmenter:
            if not expected:
                size, ids = segmenter.bundle.manifest.image.size, ids_of(segmenter, words)
                expected = [clipseg.logits_of(theirs, prepared(pixels, size), ids)[0].numpy() for pixels in images]
            for at, pixels in enumerate(images):
                difference = float(np.abs(segmenter(pixels, words).logits - expected[at]).max())
                assert difference <= TOLERANCE, (backend, at, difference)


def prepared(pixels: Any, size: int) -> torch.Tensor:
    """A picture as CLIPSeg's processor prepares it, by PIL: (1, 3, S, S)."""
    try:
        from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil as Processor
    except ImportError:  # before version 5 it was the only one
        from transformers import ViTImageProcessor as Processor

    processor = Processor(size={"height": size, "width": size}, image_mean=clipseg.MEAN, image_std=clipseg.STD)
    found: torch.Tensor = processor(Image.fromarray(pixels), return_tensors="pt")["pixel_values"]
    return found


def ids_of(segmenter: Segmenter, words: tuple[str, ...]) -> torch.Tensor:
    """Token ids by transformers' own tokenizer, with CLIP's vocabulary of open_clip's package."""
    from clsclip.clip_tokenizer import clip_tokenizer

    length = segmenter.bundle.manifest.text.context_length
    rows = [one.ids for one in clip_tokenizer().encode_batch(list(words))]
    return torch.tensor([row + [0] * (length - len(row)) for row in rows])


@pytest.mark.slow
@pytest.mark.parametrize("variant", PUBLISHED)
@pytest.mark.parametrize("size", [352, 224])
def test_full_size(tmp_path: Path, variant: str, size: int) -> None:
    """The published shapes: every precision passes its gates, and FP32 is transformers' to 1e-4 in both backends."""
    theirs = clipseg.reference(vision_config={"patch_size": 16}, **PUBLISHED[variant])
    model, _ = load_clipseg(str(clipseg.save(theirs, tmp_path / "weights", size)))
    assert architecture_of(model).mask_size == (size, size)
    profile, header = Profile((1, 1, 1), (1, 2, 4), (1, 2, 4)), {"provenance": {"templates": ["{}"]}}
    wide = tmp_path / "fp32.clsclip"
    write_bundle(model, header, wide, BundleOptions(variant, profile=profile))
    compared(wide, theirs, photographs()[:8], WORDS, ("onnxruntime-cpu", "openvino"))
    if size == 352:
        write_bundle(model, header, tmp_path / "fp16.clsclip", BundleOptions(variant, "fp16", profile))
        images = tmp_path / "pictures"
        images.mkdir()
        for at, pixels in enumerate(photographs()):
            for turn in range(2):
                Image.fromarray(np.rot90(pixels, 2 * turn + 1)).save(images / f"{at}-{turn}.png")
        quantize_bundle(wide, tmp_path / "int8.clsclip", Calibration.read(images), CheckData.read(None))
    shutil.rmtree(tmp_path)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clipseg.save(clipseg.reference(**clipseg.TINY), tmp_path_factory.mktemp("clipseg"))


def changed_config(folder: Path, **changed: Any) -> None:
    config = json.loads((folder / "config.json").read_text("utf-8"))
    (folder / "config.json").write_text(json.dumps(config | changed), "utf-8")


def changed_processor(folder: Path, **changed: Any) -> None:
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | changed), "utf-8")


def without(folder: Path, name: str) -> None:
    found = load_file(folder / "model.safetensors")
    found.pop(name)
    save_file(found, folder / "model.safetensors")


def with_nan(folder: Path) -> None:
    found = load_file(folder / "model.safetensors")
    found["decoder.film_mul.weight"][0, 0] = float("nan")
    save_file(found, folder / "model.safetensors")


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda folder: (folder / "config.json").unlink(), "has no config.json, which CLIPSeg needs"),
        (lambda folder: (folder / "config.json").write_text("[1"), "not valid JSON"),
        (lambda folder: changed_config(folder, model_type="clip"), "describes a 'clip' model"),
        (lambda folder: changed_config(folder, extract_layers=[0, 1, 9]), "layers of the image tower, 0 to 3"),
        (lambda folder: changed_config(folder, conditional_layer=3), "no word would reach a mask"),
        (lambda folder: changed_config(folder, reduce_dim=18), "heads do not divide"),
        (lambda folder: changed_config(folder, reduce_dim=20), "has shape.*belongs to another model"),
        (lambda folder: changed_config(folder, extract_layers="abc"), "settings that make no CLIPSeg|layers of"),
        (lambda folder: (folder / "model.safetensors").unlink(), "pickle"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"version https://git-lfs"), "a pointer of Git LFS"),
        (lambda folder: without(folder, "decoder.film_mul.bias"), "lacks the weight decoder.film_mul.bias"),
        (lambda folder: without(folder, "clip.vision_model.encoder.layers.1.self_attn.k_proj.weight"), "k_proj"),
        (with_nan, "NaN or infinity"),
        (lambda folder: changed_processor(folder, do_center_crop=True), "bundles do nothing else"),
        (lambda folder: changed_processor(folder, size={"shortest_edge": 48}), "bundles do nothing else"),
        (lambda folder: changed_processor(folder, rescale_factor=1.0), "scale by 1/255"),
        (lambda folder: changed_processor(folder, resample=17), "unknown filter"),
        (lambda folder: changed_processor(folder, image_std=[0, 1, 1]), "std above 0"),
        (lambda folder: changed_processor(folder, size=50), "not a multiple of the patch"),
    ],
)
def test_what_makes_no_bundle_is_refused(weights: Path, tmp_path: Path, spoil: Any, says: str) -> None:
    folder = shutil.copytree(weights, tmp_path / "weights")
    spoil(folder)
    with pytest.raises(TowersError, match=says):
        load_clipseg(str(folder))


def changed_tower(folder: Path, tower: str = "vision_config", **changed: Any) -> None:
    config = json.loads((folder / "config.json").read_text("utf-8"))
    (folder / "config.json").write_text(json.dumps(config | {tower: config[tower] | changed}), "utf-8")


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda folder: changed_tower(folder, num_attention_heads=0), "num_attention_heads is 0"),
        (lambda folder: changed_tower(folder, num_attention_heads=5), "5 heads do not divide"),
        (lambda folder: changed_tower(folder, "text_config", num_attention_heads=0), "num_attention_heads is 0"),
        (lambda folder: changed_tower(folder, hidden_size=0), "hidden_size is 0"),
        (lambda folder: changed_tower(folder, hidden_size=480000), "hidden_size|asks for visual.conv1.weight"),
        (lambda folder: changed_tower(folder, hidden_size="48"), "hidden_size is '48'"),
        (lambda folder: changed_tower(folder, layer_norm_eps="1e-5"), "layer_norm_eps is '1e-5'"),
        (lambda folder: changed_tower(folder, layer_norm_eps=-1), "layer_norm_eps is -1"),
        (lambda folder: changed_tower(folder, patch_size=-8), "patch_size -8 is not one side"),
        (lambda folder: changed_tower(folder, hidden_act=["gelu"]), "activation .*is unknown"),
        (lambda folder: changed_config(folder, vision_config=[1]), "vision_config is .1."),
        (lambda folder: changed_config(folder, extract_layers=[0.0, 1.0]), "extract_layers is .*must be numbers of"),
        (lambda folder: changed_config(folder, extract_layers=3), "extract_layers is 3"),
        (lambda folder: changed_config(folder, decoder_num_attention_heads=0), "decoder_num_attention_heads is 0"),
        (lambda folder: changed_config(folder, reduce_dim="16"), "reduce_dim is '16'"),
        (lambda folder: changed_config(folder, conditional_layer="0"), "conditional_layer is '0'"),
        (lambda folder: changed_config(folder, use_complex_transposed_convolution="false"), "true or false"),
        (lambda folder: changed_processor(folder, image_mean=["a"]), "image_mean is .*must be a number or three"),
        (lambda folder: changed_processor(folder, image_std={"r": 1}), "image_std is .*must be a number or three"),
        (lambda folder: changed_processor(folder, rescale_factor="x"), "rescale_factor is 'x'"),
        (lambda folder: changed_processor(folder, do_rescale=False), "scale by 1/255"),
    ],
)
def test_values_of_a_wrong_type_or_size_are_named(weights: Path, tmp_path: Path, spoil: Any, says: str) -> None:
    folder = shutil.copytree(weights, tmp_path / "weights")
    spoil(folder)
    with pytest.raises(TowersError, match=f"weights.*{says}"):
        load_clipseg(str(folder))


@pytest.mark.parametrize("prefix", ["model.", "module.model.", "clipseg.", "_orig_mod."])
def test_what_trainers_put_before_names_is_left_out(weights: Path, tmp_path: Path, prefix: str) -> None:
    folder = shutil.copytree(weights, tmp_path / "weights")
    found = load_file(folder / "model.safetensors")
    save_file({f"{prefix}{name}": value for name, value in found.items()}, folder / "model.safetensors")
    expected, model = load_clipseg(str(weights))[0].state_dict(), load_clipseg(str(folder))[0].state_dict()
    assert all(torch.equal(model[name], value) for name, value in expected.items())


PATCHES, POSITIONS = (f"clip.vision_model.embeddings.{one}.weight" for one in ("patch_embedding", "position_embedding"))
LAYER = "decoder.layers.0.self_attn.q_proj.weight"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda found: {name: one for name, one in found.items() if "decoder." in name}, "decoder without its CLIP"),
        (
            lambda found: {name[5:]: one for name, one in found.items() if name.startswith("clip.")},
            "a CLIP without CLIPSeg's decoder",
        ),
        (lambda found: found | {f"ema.{name}": one + 1 for name, one in found.items()}, "several CLIPSegs"),
        (lambda found: {"blocks.0.attn.qkv.weight": found[PATCHES]}, "a ViT alone"),
        (lambda found: found | {PATCHES: found[PATCHES].to(torch.int8)}, "int8 .*a quantized file"),
        (lambda found: found | {LAYER: torch.zeros(4, 4)}, "do not belong together.*decoder.layers.0"),
        (lambda found: found | {POSITIONS: torch.zeros(19, 48)}, "which is no square of patches"),
        (lambda found: found | {POSITIONS: torch.zeros(0, 48)}, "which is no square of patches"),
        (lambda found: found | {POSITIONS: torch.tensor(1.0)}, "which is no square of patches"),
    ],
)
def test_weights_that_are_no_whole_clipseg_are_named(weights: Path, tmp_path: Path, change: Any, says: str) -> None:
    folder = shutil.copytree(weights, tmp_path / "weights")
    save_file(change(load_file(folder / "model.safetensors")), folder / "model.safetensors")
    with pytest.raises(TowersError, match=f"weights.*{says}"):
        load_clipseg(str(folder))


def test_the_processor_of_transformers_5_is_read(weights: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(weights, tmp_path / "weights")
    settings = json.loads((folder / "preprocessor_config.json").read_text("utf-8"))
    (folder / "preprocessor_config.json").unlink()
    settings |= {"size": {"height": 64, "width": 64}, "image_mean": 0.5, "image_std": 0.5}
    document = {"image_processor": settings, "processor_class": "CLIPSegProcessor"}
    (folder / "processor_config.json").write_text(json.dumps(document), "utf-8")
    model, source = load_clipseg(str(folder))
    assert (model.towers.image.size, model.towers.image.mean) == (64, (0.5, 0.5, 0.5))
    assert not any("352" in note for note in source.notes)
    (folder / "preprocessor_config.json").write_text(json.dumps(settings | {"size": 48}), "utf-8")
    with pytest.raises(TowersError, match="state different size: 48 and 64"):
        load_clipseg(str(folder))


@pytest.mark.parametrize(
    ("head", "license_text"),
    [
        ("license: mit # ours", "mit"),
        ("license:\n- mit\n- apache-2.0", "mit, apache-2.0"),
        ("license: [mit, 'apache-2.0']", "mit, apache-2.0"),
        ('license: "mit"', "mit"),
        ("license:\nlicense_name: x", None),
        ("tags: x", None),
    ],
)
def test_the_license_of_a_model_card(tmp_path: Path, head: str, license_text: str | None) -> None:
    (tmp_path / "README.md").write_text(f"---\n{head}\ntags:\n- vision\n---\n", "utf-8")
    assert read_license(tmp_path) == license_text


def test_a_name_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(TowersError, match="neither a folder nor a name on a hub"):
        load_clipseg("no-such-folder")


def test_a_processor_may_leave_things_out(weights: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(weights, tmp_path / "weights")
    changed_processor(folder, size=64, resample=3, do_normalize=False)
    model, _ = load_clipseg(str(folder))
    assert (model.towers.image.size, model.towers.image.interpolation) == (64, "bicubic")
    assert model.towers.image.mean == (0.0, 0.0, 0.0)
    (folder / "preprocessor_config.json").unlink()
    model, source = load_clipseg(str(folder))
    assert (model.towers.image.size, model.towers.image.interpolation) == (352, "bilinear")
    assert any("352 px" in note for note in source.notes)


def test_the_vocabulary_of_the_folder_is_used(weights: Path, tmp_path: Path) -> None:
    from transformers import CLIPTokenizer

    from clsclip.clip_tokenizer import clip_tokenizer

    folder = shutil.copytree(weights, tmp_path / "weights")
    document = json.loads(clip_tokenizer().to_str())["model"]
    renamed = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    vocabulary = {renamed.get(token, token): number for token, number in document["vocab"].items()}
    (folder / "vocab.json").write_text(json.dumps(vocabulary), "utf-8")
    merges = [" ".join(one) for one in document["merges"]]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n", "utf-8")
    model, source = load_clipseg(str(folder))
    assert not any("tokenizer" in note for note in source.notes)
    theirs = CLIPTokenizer.from_pretrained(folder)
    words = ["cat", "A Wooden  Chair", "déjà vu", "it's 12 o'clock!", "犬"]
    for word, row in zip(words, model.towers.tokenize(words).tolist(), strict=True):
        ids = theirs(word)["input_ids"]
        assert row[: len(ids)] == ids and not any(row[len(ids) :])
