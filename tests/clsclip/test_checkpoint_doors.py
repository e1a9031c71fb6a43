"""A checkpoint opens its own folder and this user's caches, and nothing is built before it is known to fit."""

from __future__ import annotations

import json
import shutil
import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from clsclip.checkpoint import given_towers, load_checkpoint, save_checkpoint, settings_before
from clsclip.errors import CheckpointError, ClsclipError, TowersError
from clsclip.model import ClsClip, ModelConfig
from clsclip.tower_files import CONFIG_FILE, WEIGHTS_FILE, load_towers, read_weights, save_towers
from clsclip.tower_places import cached_weights, digest_of, find_towers, remember_towers
from clsclip.weights.flavor import MEAN_STD, Asked
from tests import weights
from tests.tiny import tiny_config, tiny_model, tiny_towers

NAMES_OPTIONS = r"--towers NAME_OR_FOLDER, and --pretrained"


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        pytest.fail("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder with its towers."""
    folder = tmp_path_factory.mktemp("made")
    save_towers(tiny_towers(), tiny_config(), folder / "towers")
    save_checkpoint(tiny_model(), folder / "last.safetensors", "towers", {})
    return folder


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "run")
    return tmp_path / "run"


def rewritten(run: Path, key: str, change: Callable[[Any], Any]) -> Path:
    """The checkpoint with another part of its header."""
    path = run / "last.safetensors"
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    about = header["__metadata__"]
    value = about[key] if key in ("format", "fingerprint") else json.loads(about[key])
    changed = change(value)
    about[key] = changed if isinstance(changed, str) else json.dumps(changed)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])
    return path


@pytest.mark.parametrize("size", [32, 64])
def test_the_digest_of_a_file_is_that_of_its_towers(tmp_path: Path, size: int) -> None:
    save_towers(tiny_towers(), tiny_config(), tmp_path)
    towers = load_towers(str(tmp_path), image_size=size)
    assert digest_of(read_weights(tmp_path / WEIGHTS_FILE).state, size) == towers.weights_digest()


def test_towers_in_the_runs_own_folder_are_found(run: Path) -> None:
    model, header = load_checkpoint(run / "last.safetensors")
    assert model.towers.fingerprint() == header["fingerprint"]


@pytest.mark.parametrize("source", ["../made/towers", "", "nowhere", "ViT-B-32:openai"])
def test_towers_beside_a_checkpoint_are_found_by_their_content(run: Path, source: str) -> None:
    path = rewritten(run, "towers", lambda towers: towers | {"source": source, "name": "mine"})
    assert load_checkpoint(path)[0].towers.name == "mine"
    save_towers(tiny_towers(seed=5), tiny_config(), run / "towers")
    with pytest.raises(CheckpointError, match=NAMES_OPTIONS):
        load_checkpoint(path)


@pytest.mark.parametrize(
    "source",
    [
        *("../made/towers", "/etc", "../../../../etc", "", ".\0", "a" * 5000, "link", "nowhere", "ViT-bigG-14"),
        *("ViT-B-32:openai", "ViT-B-32:/etc/passwd", "ViT-B-32:../../etc/passwd", "hf-hub:evil/model", "\x1b[2J"),
        *("local-dir:/etc", "RN50:openai", "coca_ViT-B-32:x"),
    ],
)
def test_nothing_else_is_opened(run: Path, source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(run / "no hub"))
    elsewhere = run.parent / "elsewhere"
    shutil.move(run / "towers", elsewhere)
    (run / "link").symlink_to(elsewhere)
    path = rewritten(run, "towers", lambda towers: towers | {"source": source})
    start = time.process_time()
    with pytest.raises(CheckpointError, match=NAMES_OPTIONS):
        load_checkpoint(path)
    assert time.process_time() - start < 2


def test_other_weights_are_not_built(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import open_clip

    save_towers(tiny_towers(seed=5), tiny_config(), run / "towers")
    monkeypatch.setattr(open_clip, "CLIP", lambda **settings: pytest.fail("it was built"))
    with pytest.raises(CheckpointError, match=rf"other towers than those of .*towers\. .*{NAMES_OPTIONS}"):
        load_checkpoint(run / "last.safetensors")


def test_where_this_user_trained_is_remembered(run: Path, user_cache: Path) -> None:
    path = rewritten(run, "towers", lambda towers: towers | {"source": "../gone"})
    fingerprint = tiny_towers().fingerprint()
    elsewhere = run.parent / "elsewhere"
    (run / "towers").rename(elsewhere)
    assert find_towers("../gone", run, fingerprint) == []
    remember_towers(fingerprint, str(elsewhere), None)
    assert load_checkpoint(path)[0].towers.fingerprint() == fingerprint
    note = user_cache / "towers" / f"{fingerprint}.json"
    assert note.parent.stat().st_mode & 0o777 == 0o700
    note.parent.chmod(0o777)
    with pytest.raises(CheckpointError, match=NAMES_OPTIONS):
        load_checkpoint(path)
    note.parent.chmod(0o700)
    for damaged in ("{", "[]", '{"name": 5}', '{"name": "x", "weights": []}'):
        note.write_text(damaged, "utf-8")
        with pytest.raises(CheckpointError, match=NAMES_OPTIONS):
            load_checkpoint(path)


def test_tags_are_looked_up_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    asked = []

    def look(model: str, file: str) -> str | None:
        asked.append((model, file))
        return str(tmp_path / file) if file.endswith(".bin") else None

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", look)
    assert cached_weights("ViT-B-16", "openai") == tmp_path / "open_clip_pytorch_model.bin"
    assert {model for model, _ in asked} == {"timm/vit_base_patch16_clip_224.openai"}
    assert cached_weights("ViT-B-16", "no such tag") is None


HEADERS: list[tuple[str, Any]] = [
    *(("model", {"decoder_layers": value}) for value in (10**6, -1, 1.5, "2", None, True)),
    *(("model", {"upscale": value}) for value in (0, -4, 10**12)),
    *(("model", {"decoder_heads": value}) for value in (0, -3, 10**9, 5)),
    *(("model", {"visual_prompts": value}) for value in (10**9, -1)),
    *(("model", {"navigation_layers": value}) for value in ([0] * 10**4, [-1], "234", {"a": 1}, None, [[2]], [2, 2])),
    *(("model", {"use_of_text": value}) for value in ("evil", ["a"])),
    *(("model", {"decoder_inputs": value}) for value in (["x"], "stem", [5])),
    ("model", {"evil": 1}),
    *(("towers", {"image_size": value}) for value in (0, -8, 10**6, "96", None, 97, 96.5, True)),
    *(("towers", {"source": value}) for value in (5, None, [])),
]


@pytest.mark.parametrize(("key", "change"), HEADERS, ids=[f"{key} {change!r}"[:60] for key, change in HEADERS])
def test_headers_that_cannot_be(run: Path, key: str, change: dict[str, Any]) -> None:
    path = rewritten(run, key, lambda value: value | change)
    start = time.process_time()
    with pytest.raises(ClsclipError):
        load_checkpoint(path)
    assert time.process_time() - start < 3


@pytest.mark.parametrize("key", ["model", "towers", "provenance", "fingerprint", "format"])
@pytest.mark.parametrize("text", ["[]", "null", "5", "[" * 100_000, '{"a": 1, "a": 2}', "\x1b[2J", "{"])
def test_parts_of_a_header_that_are_no_objects(run: Path, key: str, text: str) -> None:
    path = rewritten(run, key, lambda value: text)
    with pytest.raises(CheckpointError):
        load_checkpoint(path)


def change_of(*keys: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(config: dict[str, Any]) -> None:
        for key in keys[:-1]:
            config = config[key]
        config[keys[-1]] = value

    return change


VISION, TEXT = ("model_cfg", "vision_cfg"), ("model_cfg", "text_cfg")
CONFIGS = [
    *(change_of(*VISION, "layers", value=value) for value in (10**5, 0, -1, "6", [1, 2, 3, 4])),
    *(change_of(*VISION, "width", value=value) for value in (10**6, 0, None)),
    *(change_of(*VISION, "patch_size", value=value) for value in (0, "8", 10**6)),
    *(change_of(*VISION, "image_size", value=value) for value in (10**6, "x", [96, 96], 33)),
    *(change_of(*VISION, "head_width", value=value) for value in (0, 7, "16")),
    *(change_of(*VISION, key, value="hf-hub:evil/model") for key in ("timm_model_name",)),
    *(change_of(*VISION, "timm_model_name", value=f"local-dir:{name}") for name in ("/etc", ".")),
    *(change_of(*TEXT, key, value="evil/x") for key in ("hf_model_name", "hf_tokenizer_name")),
    *(change_of(*TEXT, "vocab_size", value=value) for value in (10**9, 0)),
    *(change_of(*TEXT, "context_length", value=value) for value in (10**6, "x")),
    *(change_of(*TEXT, "heads", value=value) for value in (0, 7)),
    *(change_of(*TEXT, "mlp_ratio", value=value) for value in (1e9, -1, "4")),
    *(change_of(*TEXT, "eos_id", value=value) for value in ("", "/etc/passwd", "\u202e", 10**9, -1, 2.5, True, None)),
    *(change_of(*TEXT, "pool_type", value=value) for value in ("", "mean", 3, None)),
    change_of("model_cfg", "embed_dim", value=10**9),
    change_of("model_cfg", "evil", value=1),
    change_of("model_cfg", value=[]),
    change_of(*VISION, value=None),
    change_of(*VISION, "act_kwargs", value={"a": 1}),
    change_of("preprocess_cfg", "std", value=[0, 0, 0]),
    change_of("preprocess_cfg", "mean", value=[0, 0]),
]


@pytest.mark.parametrize("change", CONFIGS, ids=range(len(CONFIGS)))
def test_configurations_of_towers_that_cannot_be(run: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = run / "towers" / CONFIG_FILE
    config = json.loads(path.read_text("utf-8"))
    change(config)
    path.write_text(json.dumps(config), "utf-8")
    start = time.process_time()
    with pytest.raises(TowersError):
        load_checkpoint(run / "last.safetensors")
    assert time.process_time() - start < 3


@pytest.mark.parametrize("content", [b"", b"[]", b"[" * 100_000, b'{"model_cfg": {}}', b"\xff"])
def test_configurations_that_are_no_documents(run: Path, content: bytes) -> None:
    (run / "towers" / CONFIG_FILE).write_bytes(content)
    with pytest.raises(TowersError, match="towers"):
        load_checkpoint(run / "last.safetensors")


def test_checkpoints_have_the_mode_that_the_user_asks_for(tmp_path: Path) -> None:
    import os

    before = os.umask(0o027)
    try:
        save_checkpoint(tiny_model(), tmp_path / "last.safetensors", "towers", {})
    finally:
        os.umask(before)
    assert (tmp_path / "last.safetensors").stat().st_mode & 0o777 == 0o640


def test_weights_of_torch_are_compared_too(run: Path) -> None:
    """``name:file`` with a torch file in the run's folder: its fingerprint is asked before a model is built."""
    shutil.rmtree(run / "towers")
    torch.save({"visual.conv1.weight": torch.zeros(2, 2)}, run / "w.pt")
    path = rewritten(run, "towers", lambda towers: towers | {"source": "ViT-B-32:w.pt"})
    with pytest.raises(CheckpointError, match=r"other towers than those of .*w\.pt"):
        load_checkpoint(path)


def as_before(run: Path, source: str = "towers") -> Path:
    """The checkpoint as 0.1 wrote it: its fingerprint is that of the weights, and nothing else is told."""
    digest = tiny_towers().weights_digest()
    path = rewritten(run, "format", lambda _: "clsclip-checkpoint-1")
    rewritten(run, "fingerprint", lambda _: digest)
    rewritten(run, "towers", lambda towers: {"source": source, "name": "tiny", "image_size": towers["image_size"]})
    return path


def test_checkpoints_of_before_are_read_and_written_anew(run: Path) -> None:
    path = as_before(run)
    model, header = load_checkpoint(path)
    assert header["fingerprint"] == model.towers.fingerprint()
    save_checkpoint(model, path, "towers", header["provenance"])
    assert load_checkpoint(path)[1]["towers"]["settings"] == json.loads(json.dumps(model.towers.settings()))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (change_of("model_cfg", "quick_gelu", value=True), "activation.image was .gelu. and is .quick_gelu."),
        (change_of(*VISION, "head_width", value=24), "heads.image was 3 and is 2"),
        (change_of(*TEXT, "heads", value=4), "heads.text was 2 and is 4"),
        (change_of("preprocess_cfg", "mean", value=[0.1, 0.5, 0.5]), "mean was"),
        (
            change_of("preprocess_cfg", "interpolation", value="bilinear"),
            "interpolation was .bicubic. and is .bilinear.",
        ),
        (change_of(*TEXT, "eos_id", value=7), "end_token was 2 and is 7"),
    ],
)
def test_towers_that_compute_something_else_are_refused(
    run: Path, change: Callable[[dict[str, Any]], None], says: str
) -> None:
    """The weights are the same; the configuration of the towers is not that of the training."""
    path = run / "towers" / CONFIG_FILE
    config = json.loads(path.read_text("utf-8"))
    change(config)
    path.write_text(json.dumps(config), "utf-8")
    with pytest.raises(ClsclipError, match=f"{says}|the checkpoint says"):
        load_checkpoint(run / "last.safetensors")
    with pytest.raises(CheckpointError, match=says):
        load_checkpoint(run / "last.safetensors", load_towers(str(run / "towers")))


def test_a_header_that_contradicts_itself_is_damaged(run: Path) -> None:
    path = rewritten(run, "towers", lambda towers: towers | {"settings": towers["settings"] | {"mean": [0, 0, 0]}})
    with pytest.raises(CheckpointError, match="its fingerprint is not that of the towers that it describes"):
        load_checkpoint(path)


def named(run: Path, quick_gelu: bool) -> tuple[Path, Path]:
    """A checkpoint on towers of a name, with their weights as a bare file in its folder."""
    weights.register(run)
    save_file(weights.state_of(weights.clip()), run / "w.safetensors")
    asked = Asked("quick_gelu" if quick_gelu else "gelu", MEAN_STD["openai"])
    towers = load_towers(weights.NAME, str(run / "w.safetensors"), asked=asked)
    path = run / "named.safetensors"
    save_checkpoint(
        ClsClip(towers, ModelConfig(navigation_layers=(1,))).eval(), path, f"{weights.NAME}:w.safetensors", {}
    )
    return path, run / "w.safetensors"


@pytest.mark.parametrize("quick_gelu", [False, True])
def test_a_checkpoint_tells_what_its_weights_file_does_not(run: Path, quick_gelu: bool) -> None:
    path, file = named(run, quick_gelu)
    expected = "quick_gelu" if quick_gelu else "gelu"
    found = load_checkpoint(path)[0].towers
    given = given_towers(path, weights.NAME, str(file))
    assert found.settings()["activation"]["image"] == given.settings()["activation"]["image"] == expected
    assert found.fingerprint() == given.fingerprint()


def test_a_checkpoint_refuses_towers_of_another_flavor(run: Path) -> None:
    path, file = named(run, quick_gelu=False)
    with pytest.raises(TowersError, match="says quick_gelu, and the checkpoint says gelu"):
        given_towers(path, weights.QUICK, str(file))
    other = load_towers(weights.QUICK, str(file), asked=Asked(None, MEAN_STD["openai"]))
    with pytest.raises(
        CheckpointError, match=r"compute something else: activation.image was .gelu. and is .quick_gelu."
    ):
        load_checkpoint(path, other)
    pixels = load_towers(weights.NAME, str(file), asked=Asked("gelu", MEAN_STD["inception"]))
    with pytest.raises(CheckpointError, match="compute something else: mean was"):
        load_checkpoint(path, pixels)


@pytest.mark.parametrize(
    ("source", "activation"),
    [
        ("ViT-B-16:w.safetensors", "gelu"),
        ("ViT-B-16-quickgelu:w.safetensors", "quick_gelu"),
        ("ViT-B-16:openai", "quick_gelu"),
        ("ViT-B-16:laion2b_s34b_b88k", "gelu"),
        ("ViT-B-16", "gelu"),
    ],
)
def test_what_0_1_ran_is_known_by_its_name(source: str, activation: str) -> None:
    found = settings_before(source)
    assert found["activation"] == {"image": activation, "text": activation} and len(found["mean"]) == 3


def test_what_0_1_ran_of_a_folder_is_told_by_the_folder() -> None:
    assert settings_before("towers") == {}
    assert settings_before("ViT-L-14:laion2b_s32b_b82k")["mean"] == [0.5, 0.5, 0.5]
