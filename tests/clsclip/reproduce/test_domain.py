"""The line between what a model knows and other images: on points whose line is known, and through the command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from clsclip.checkpoint import load_checkpoint, read_header, save_checkpoint
from clsclip.preprocessing import image_spec
from clsclip.reproduce.domain import FEATURES, fit_line, pooled_features
from clsclip.reproduce.stickers.__main__ import main
from clsclip.tower_files import save_towers
from clsclip_runtime.bundle.specs import DomainSpec, DomainTest
from clsclip_runtime.images import preprocess
from clsclip_runtime.inference.domain import is_far
from tests.tiny import tiny_config, tiny_model


def test_the_line_lies_between_near_and_far() -> None:
    rng = np.random.default_rng(0)
    shift = np.array([0.0, 3.0, 0.0, -3.0, 0.0, 0.0])
    near, far = rng.normal(size=(4000, 6)), rng.normal(size=(50, 6)) + shift
    line = fit_line(near, far, (2, 2, 2))
    # Of two Gaussians, the best line stands on the shift: 4.24 deviations apart, 1 % of the near ones beyond it.
    direction = line.weights / np.linalg.norm(line.weights)
    assert direction @ shift / np.linalg.norm(shift) > 0.95
    assert line.told(rng.normal(size=(20000, 6))) == pytest.approx(0.01, abs=0.005)
    assert line.told(rng.normal(size=(2000, 6)) + shift) > 0.93
    test = line.to_json()["test"]
    assert np.concatenate([test["weights"][name] for name in FEATURES]).tolist() == line.weights.tolist()


def test_the_command_writes_what_a_runtime_reads(sticker_root: Path, tmp_path: Path) -> None:
    model, path, photographs = tiny_model(), tmp_path / "last.safetensors", tmp_path / "photographs"
    save_towers(model.towers, tiny_config(), tmp_path / "towers")
    save_checkpoint(model, path, "towers", {"steps": 3})
    photographs.mkdir()
    arguments = ["domain", str(path), "--stickers", str(sticker_root), "--style", "noto"]
    arguments += ["--photographs", str(photographs), "--pictures", "8", "--measured", "4"]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 1 and "holds 0 .jpg files" in done.output
    rng = np.random.default_rng(0)
    for at in range(4):
        Image.fromarray(rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)).save(photographs / f"{at}.jpg", quality=95)
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "manifest.json").write_text('{"name": "x"}', "utf-8")
    done = CliRunner().invoke(main, [*arguments, "--bundle", str(tmp_path / "bundle")])
    assert done.exit_code == 0, done.output
    assert "of 2 other photographs" in done.output and "of 4 other sticker pictures" in done.output
    provenance = read_header(path)["provenance"]
    assert provenance["steps"] == 3 and load_checkpoint(path)[0].towers.fingerprint() == model.towers.fingerprint()
    stated = provenance["domain"]
    assert json.loads((tmp_path / "bundle" / "manifest.json").read_text("utf-8")) == {"name": "x", "domain": stated}
    # Noise is far from drawings on grounds, for any towers; a runtime says so of the same features.
    test = stated["test"]
    spec = DomainSpec(stated["name"], stated["description"], DomainTest(test["weights"], test["bias"]))
    image = np.asarray(Image.open(photographs / "1.jpg"))
    pixels = torch.from_numpy(preprocess(Image.fromarray(image), image_spec(model))[None])
    with torch.no_grad():
        features = dict(zip(FEATURES, (one.numpy() for one in model.encode_image(pixels)), strict=True))
    row = pooled_features(model, [image])[0][0]
    weights = np.concatenate([test["weights"][name] for name in FEATURES])
    assert is_far(spec, features, 0) == bool(row @ weights + test["bias"] > 0)
