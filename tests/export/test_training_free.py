"""CLIP with no decoder against the papers, written again here in float64; its bundles; and what is refused."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import open_clip
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from torch import Tensor

from clsclip.clip_tokenizer import clip_tokenizer
from clsclip.errors import TowersError
from clsclip.photographs import photographs
from clsclip.tower_files import load_towers, save_towers
from clsclip.towers import ImageSpec, Towers
from clsclip.training_free import BACKGROUND, METHODS, TrainingFree
from clsclip_export.architectures.training_free import Product
from clsclip_export.bundle import write_bundle
from clsclip_export.calibration import Calibration
from clsclip_export.check_data import CheckData
from clsclip_export.cli import command
from clsclip_export.cli.options import TRAINING_FREE
from clsclip_export.errors import ParityError
from clsclip_export.int8_bundle import quantize_bundle
from clsclip_export.options import BundleOptions
from clsclip_export.precision import make_plan
from clsclip_export.profiles import Profile
from clsclip_runtime import Segmenter
from tests.tiny import tiny_config, tiny_towers

TEMPLATES = ("a photo of a {}.", "there is a {}.")
ROOT = Path(__file__).parents[2]
GROUND = ("sky", "wall", "a wooden floor", "grass")
WORDS = ("cat", "bicycle", "wall", "sky", "face", "lamp", "car")
EXACT = 1e-5


def like_trained(clip: Any) -> Any:
    """Give an open_clip model random weights whose texts and patches differ as trained ones do.

    Its own initialization makes all texts nearly the same, so that masks would hang on rounding.
    """
    torch.manual_seed(5)
    with torch.no_grad():
        for name, value in clip.named_parameters():
            if name.endswith("token_embedding.weight"):
                value.normal_(std=1.0)
            elif "positional" in name:
                value.normal_(std=0.1)
            elif value.ndim >= 2:
                inputs = value.shape[0] if name.endswith(("proj", "text_projection")) else value[0].numel()
                value.normal_(std=inputs**-0.5)
            elif name.endswith("bias"):
                value.normal_(std=0.1)
        clip.logit_scale.fill_(float(np.log(100.0)))
    return clip.eval()


def towers_of(clip: Any, size: int, patch: int) -> Towers:
    spec = ImageSpec(size, open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)
    assert size % patch == 0
    return Towers(clip, clip_tokenizer(), spec, "random").requires_grad_(False).eval()


def tiny_clip() -> Any:
    config: dict[str, Any] = tiny_config()
    text = config["text_cfg"] | {"vocab_size": 49408, "pool_type": "argmax", "context_length": 77}
    return like_trained(open_clip.CLIP(**config | {"text_cfg": text}))


class Papers:
    """The five methods as their papers say, by loops over heads, in float64, from open_clip's own modules."""

    def __init__(self, clip: Any, method: str) -> None:
        self.clip, self.method = clip.double(), method

    def patches(self, pixels: Tensor) -> Tensor:
        """(C, 3, S, S) -> (C, m, f) of unit norm."""
        visual = self.clip.visual
        x = visual.conv1(pixels.double()).flatten(2).transpose(1, 2)
        x = torch.cat([visual.class_embedding.expand(len(x), 1, -1), x], dim=1) + visual.positional_embedding
        x = visual.ln_pre(x)
        for one in visual.transformer.resblocks[:-1]:
            x = one(x)  # open_clip's own block
        x = self.last(visual.transformer.resblocks[-1], x)
        x = visual.ln_post(x)[:, 1:] @ visual.proj
        return x / x.norm(dim=-1, keepdim=True)

    def last(self, block: Any, x: Tensor) -> Tensor:
        if self.method == "cosine":
            return block(x)
        attended = self.attention(block.attn, block.ln_1(x))
        if self.method in ("clearclip", "naclip"):
            return attended
        x = x + attended
        return x + block.mlp(block.ln_2(x))

    def attention(self, attn: Any, x: Tensor) -> Tensor:
        width, heads = x.shape[-1], attn.num_heads
        q, k, v = (x @ attn.in_proj_weight.T + attn.in_proj_bias).split(width, dim=-1)
        outputs = []
        for head in range(heads):
            at = slice(head * width // heads, (head + 1) * width // heads)
            outputs.append(self.weights(q[..., at], k[..., at]) @ v[..., at])
        return torch.cat(outputs, dim=-1) @ attn.out_proj.weight.T + attn.out_proj.bias

    def weights(self, q: Tensor, k: Tensor) -> Tensor:
        root = q.shape[-1] ** 0.5
        qq, kk = q @ q.transpose(1, 2) / root, k @ k.transpose(1, 2) / root
        if self.method == "maskclip":
            return torch.eye(q.shape[1], dtype=q.dtype)
        if self.method == "sclip":
            return qq.softmax(-1) + kk.softmax(-1)
        if self.method == "clearclip":
            return qq.softmax(-1)
        grid = int((q.shape[1] - 1) ** 0.5)
        near = torch.zeros(q.shape[1], q.shape[1], dtype=q.dtype)
        for i in range(grid * grid):
            for j in range(grid * grid):
                squared = (i // grid - j // grid) ** 2 + (i % grid - j % grid) ** 2
                near[1 + i, 1 + j] = np.exp(-squared / (2 * 5.0**2))
        return (kk + near).softmax(-1)

    @cache  # noqa: B019 (one object a test)
    def text(self, word: str) -> Tensor:
        rows = []
        for template in TEMPLATES:
            ids = clip_tokenizer().encode(template.format(word)).ids
            padded = torch.tensor([ids + [0] * (self.clip.context_length - len(ids))])
            rows.append(torch.nn.functional.normalize(self.clip.encode_text(padded)[0], dim=-1))
        return torch.nn.functional.normalize(torch.stack(rows).mean(dim=0), dim=-1)

    def logits(self, pixels: Tensor, words: tuple[str, ...]) -> Tensor:
        """(C, K, g, g): a word against the background, itself left out where it is one of its prompts."""
        patches, scale = self.patches(pixels), self.clip.logit_scale.exp()
        grid = int(patches.shape[1] ** 0.5)
        made = []
        for word in words:
            others = torch.stack([scale * (patches @ self.text(one)) for one in GROUND if one != word])
            own = scale * (patches @ self.text(word))
            made.append((own - others.exp().sum(dim=0).log()).reshape(-1, grid, grid))
        return torch.stack(made, dim=1)


def pixels_of(size: int, count: int = 2) -> Tensor:
    images = [Image.fromarray(one).resize((size, size), Image.Resampling.BICUBIC) for one in photographs()[:count]]
    values = torch.from_numpy(np.stack([np.asarray(one) for one in images])).permute(0, 3, 1, 2).float() / 255
    mean, std = (
        torch.tensor(one).view(3, 1, 1) for one in (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)
    )
    return (values - mean) / std


def compared(clip: Any, size: int, patch: int, method: str) -> None:
    model = TrainingFree(towers_of(clip, size, patch), method, GROUND, TEMPLATES).double().eval()
    model.background_features = model.background_features.double()
    pixels, count = pixels_of(size).double(), len(WORDS)
    with torch.no_grad():
        text = model.text_features_of(WORDS)
        index = torch.arange(2 * count)
        image, patches = model.encode_image(pixels)
        found = model(pixels, text, index // count, index % count)
        product = Product(model)(patches, text, index // count, index % count)
    papers = Papers(clip, method)
    with torch.no_grad():
        expected = papers.logits(pixels, WORDS).flatten(0, 1)
        torch.testing.assert_close(patches, papers.patches(pixels), atol=EXACT, rtol=0)
        torch.testing.assert_close(image, clip.encode_image(pixels, normalize=True), atol=EXACT, rtol=0)
    torch.testing.assert_close(found, expected, atol=EXACT, rtol=EXACT)
    torch.testing.assert_close(product, expected, atol=EXACT, rtol=EXACT)
    # Masks at the logit that half of the pixels exceed: random weights may have all of them on one side of 0.
    level = expected.median()
    decided = ((expected - level).abs() > EXACT).numpy()
    assert np.array_equal((product > level).numpy()[decided], (expected > level).numpy()[decided])
    assert decided.mean() > 0.99 and float(expected.std()) > 0.1


@pytest.mark.parametrize("method", METHODS)
def test_features_and_logits_are_the_papers(method: str) -> None:
    compared(tiny_clip(), 32, 8, method)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_features_and_logits_are_the_papers_at_full_size(method: str) -> None:
    torch.manual_seed(0)
    compared(like_trained(open_clip.CLIP(**open_clip.get_model_config("ViT-B-16"), quick_gelu=True)), 224, 16, method)


def test_methods_of_the_command_are_those_of_the_model() -> None:
    assert TRAINING_FREE == METHODS


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """A tiny CLIP, and its NACLIP bundle in FP16, written by the command."""
    folder, clip = tmp_path_factory.mktemp("free"), tiny_clip()
    towers = towers_of(clip, 32, 8)
    config: dict[str, Any] = tiny_config()
    text = config["text_cfg"] | {"vocab_size": 49408, "pool_type": "argmax", "context_length": 77}
    save_towers(towers, config | {"text_cfg": text}, folder / "towers")
    (folder / "ground.txt").write_text("\n".join(GROUND), "utf-8")
    (folder / "templates.txt").write_text("# prompts\n" + "\n".join(TEMPLATES), "utf-8")
    out = folder / "clip.clsclip"
    arguments = ["--training-free", "naclip", "--towers", str(folder / "towers"), "--out", str(out), "--fp16"]
    arguments += ["--background", str(folder / "ground.txt"), "--templates", str(folder / "templates.txt")]
    done = CliRunner().invoke(
        command, [*arguments, "--license", "MIT", "--crops", "1,1,2", "--classes", "1,2,6", "--pairs", "1,2,6"]
    )
    assert done.exit_code == 0, done.output
    return clip, out


def test_bundle_says_what_it_is(bundle: tuple[Any, Path]) -> None:
    manifest = json.loads((bundle[1] / "manifest.json").read_text("utf-8"))
    assert manifest["background"]["prompts"] == list(GROUND)
    assert manifest["background"]["scale"] == pytest.approx(100)
    assert manifest["text"]["templates"] == list(TEMPLATES) and manifest["license"]["weights"] == "MIT"
    assert [one["name"] for one in manifest["text"]["features"]] == ["text_features"]
    assert manifest["model"]["variant"] == "naclip" and manifest["presence"]["threshold"] == 0


def test_labels_are_the_argmax_of_words_and_background(bundle: tuple[Any, Path]) -> None:
    """Labels of the runtime against the argmax over all words and the background's sum, as in the papers."""
    clip, out = bundle
    pixels = photographs()[0]
    words = ("cat", "lamp", "car")
    with Segmenter.load(out, "onnxruntime-cpu") as segmenter:
        result, alone = segmenter(pixels, words), segmenter(pixels, words[:1])
    np.testing.assert_array_equal(result.mask("cat"), alone.mask("cat"))
    height, width = pixels.shape[:2]
    with torch.no_grad():
        logits = Papers(clip, "naclip").logits(pixels_of(32, 1), words)
    large = torch.nn.functional.interpolate(logits, (height, width), mode="bilinear", align_corners=False)[0]
    scores = torch.cat([torch.zeros(1, height, width), large])  # the background's own logit is 0
    two = scores.topk(2, dim=0).values
    sure = (two[0] - two[1] > 0.3).numpy()  # FP16
    assert sure.mean() > 0.7
    np.testing.assert_array_equal(result.labels()[sure], scores.argmax(dim=0).numpy()[sure])
    assert len(np.unique(result.labels())) > 2


def test_a_background_prompt_may_be_asked() -> None:
    """Sky is a background prompt and may be asked all the same: its logit is that of its share among all prompts."""
    model = TrainingFree(towers_of(tiny_clip(), 32, 8), "cosine").eval()
    assert len(set(BACKGROUND)) == len(BACKGROUND) and "sky" in BACKGROUND
    with torch.no_grad():
        text = model.text_features_of(["sky", "cat"])
        patches = torch.nn.functional.normalize(text[:1, None] + 0.01 * torch.randn(1, 16, text.shape[1]), dim=-1)
        logits = model.trunk(patches, text, torch.zeros(2, dtype=torch.int64), torch.arange(2))
        shares = (model.scale * patches[0] @ model.background_features.T).softmax(dim=-1)[:, BACKGROUND.index("sky")]
    expected = torch.log(shares / (1 - shares))
    torch.testing.assert_close(logits[0].flatten(), expected, atol=1e-3, rtol=1e-3)


@pytest.fixture(scope="module")
def sky(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle in FP32 whose only background is a word that is asked."""
    model = TrainingFree(towers_of(tiny_clip(), 32, 8), "cosine", GROUND[:1], TEMPLATES).eval()
    header = {"provenance": {"templates": list(TEMPLATES)}}
    out = tmp_path_factory.mktemp("sky") / "sky.clsclip"
    write_bundle(model, header, out, BundleOptions("sky", profile=Profile((1, 1, 1), (1, 2, 8), (1, 2, 8))))
    return out


@pytest.mark.parametrize("backend", ["onnxruntime-cpu", "openvino"])
def test_a_word_that_is_all_of_the_background(sky: Path, backend: str) -> None:
    """Its share is 1, and what is left for the others must not fall below nothing by an engine's rounding."""
    with Segmenter.load(sky, backend) as segmenter:
        for pixels in photographs():
            logits = segmenter(pixels, [GROUND[0], *WORDS[:3]]).logits
            assert np.isfinite(logits).all() and (logits[0] > 5).all()


def test_nothing_after_the_last_product_is_half(sky: Path) -> None:
    """The share that is left of the others is as small as 1e-6, which half hardly knows."""
    proto = onnx.load(sky / "trunk.onnx")
    half = {proto.graph.node[at].op_type for at in make_plan(proto, "fp16").half_nodes}
    assert half <= {"Concat", "Transpose"}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--training-free", "naclip"], "--training-free needs --towers"),
        (["--training-free", "naclip", "--clipseg", "x", "--towers", "ViT-B-16"], "exclude each other"),
        (["--training-free", "best", "--towers", "ViT-B-16"], "Invalid value for '--training-free'"),
        (["--clipseg", "x", "--background", "FILE"], "--background says something about --training-free"),
        (["--clipseg", "x", "--towers", "ViT-B-16"], "--towers"),
        (["--from-bundle", "x", "--image-size", "32"], "--image-size"),
        (["--clipseg", "x", "--templates", "WRONG"], "no prompt"),
        (["--clipseg", "x", "--templates", "EMPTY"], "holds no prompt"),
    ],
)
def test_wrong_options(tmp_path: Path, arguments: list[str], says: str) -> None:
    for name, text in (("FILE", "sky"), ("WRONG", "a photo"), ("EMPTY", "\n")):
        (tmp_path / name).write_text(text, "utf-8")
    arguments = [str(tmp_path / one) if one in ("FILE", "WRONG", "EMPTY") else one for one in arguments]
    done = CliRunner().invoke(command, [*arguments, "--out", str(tmp_path / "out")])
    assert done.exit_code == 2 and says in done.output, done.output


def test_wrong_methods_and_backgrounds() -> None:
    with pytest.raises(TowersError, match="known: cosine, maskclip"):
        TrainingFree(tiny_towers(), "best")
    with pytest.raises(TowersError, match="at least one"):
        TrainingFree(tiny_towers(), "cosine", ())


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_fp16_at_full_size(tmp_path: Path, method: str) -> None:
    torch.manual_seed(0)
    clip = like_trained(open_clip.CLIP(**open_clip.get_model_config("ViT-B-16"), quick_gelu=True))
    # One background prompt, so that words mark something with random weights too.
    model = TrainingFree(towers_of(clip, 224, 16), method, GROUND[:1], TEMPLATES).eval()
    profile, header = Profile((1, 1, 2), (1, 2, 4), (1, 2, 8)), {"provenance": {"templates": list(TEMPLATES)}}
    write_bundle(model, header, tmp_path / "fp32.clsclip", BundleOptions(method, profile=profile))
    write_bundle(model, header, tmp_path / "fp16.clsclip", BundleOptions(method, "fp16", profile))


@pytest.mark.slow
def test_int8_changes_masks_too_much_and_is_refused(tmp_path: Path) -> None:
    """Masks are where one cosine passes others, so they hang on small differences, which INT8 loses."""
    judge, images, turned = ROOT / "examples" / "judge", tmp_path / "images", tmp_path / "turned"
    images.mkdir()
    turned.mkdir()
    entries = json.loads((judge / "words.json").read_text("utf-8"))
    for entry in entries:
        image = Image.open(judge / entry["file"]).convert("RGB")
        image.save(images / entry["file"])
        for turns in (1, 2):
            image.rotate(90 * turns, expand=True).save(turned / f"{turns}-{entry['file']}")
    towers = load_towers(str(ROOT / "models" / "stickers" / "towers"), image_size=128)
    model = TrainingFree(towers, "cosine", ("background", "wall", "grass"), ("a picture of a {}",)).eval()
    profile, header = Profile((1, 1, 2), (1, 2, 4), (1, 2, 8)), {"provenance": {"templates": ["a picture of a {}"]}}
    write_bundle(model, header, tmp_path / "fp32.clsclip", BundleOptions("cosine", profile=profile))
    words = sorted({word for entry in entries for word in entry["shown"]})
    with pytest.raises(ParityError, match=r"mean mask IoU 0\.9\d+ < 0\.97"):
        quantize_bundle(
            tmp_path / "fp32.clsclip",
            tmp_path / "int8.clsclip",
            Calibration.read(turned),
            CheckData.read(images, words),
        )
    assert not (tmp_path / "int8.clsclip").exists()
