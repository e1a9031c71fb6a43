"""Ten minutes of towers' training on a GPU: pictures are made there too, out of one file, and no package of stickers.

    python -m clsclip.reproduce.stickers atlas --stickers node_modules --out atlas.safetensors     # before, anywhere
    python benchmarks/method/gpu_towers.py atlas.safetensors OUT [--minutes 9] [--start models/stickers/towers]

The first steps are timed, and the run is as long as the minutes allow. OUT gets the towers, ``pretrain.jsonl`` and
``report.json``, which is written after every stage: a run that is cut short keeps what it found. The state, which is
large, stays in ``--work``. With ``--device cpu --minutes 2 --batch 16`` everything is rehearsed without a GPU.
"""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import click
import torch

from clsclip.reproduce.naming import single_things_of
from clsclip.reproduce.pretrain import PretrainConfig, new_towers, pretrain
from clsclip.reproduce.stickers.captions import train_tokenizer
from clsclip.reproduce.stickers.tensor_maker import Atlas, TensorMaker
from clsclip.reproduce.stickers.tensor_mosaics import TensorBatches
from clsclip.tower_files import CONFIG_FILE, load_towers
from clsclip_runtime.paths import write_json

TIMED_STEPS = 60
"""Steps before the run's length is known; they count as its first."""

SPARE = 0.9
"""Share of the time left that steps are planned for; the rest is for what is written at the end."""


@click.command()
@click.argument("atlas", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--minutes", default=9.0, show_default=True, help="In all, start to end.")
@click.option("--device", default="cuda", show_default=True)
@click.option("--start", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Towers to go on from.")
@click.option("--side", default=96, show_default=True)
@click.option("--batch", default=256, show_default=True)
@click.option("--learning-rate", default=1e-3, show_default=True)
@click.option("--timed-steps", default=TIMED_STEPS, show_default=True)
@click.option("--work", type=click.Path(path_type=Path), help="For the state; default: a folder beside OUT.")
@click.option("--seed", default=12, show_default=True)
def main(
    atlas: Path,
    out: Path,
    minutes: float,
    device: str,
    start: Path | None,
    side: int,
    batch: int,
    learning_rate: float,
    timed_steps: int,
    work: Path | None,
    seed: int,
) -> None:
    """Train towers for some minutes and say what came of it."""
    began = time.monotonic()
    work = work or out.with_name(out.name + "-work")
    work.mkdir(parents=True, exist_ok=True)
    out.mkdir(parents=True, exist_ok=True)
    torch.set_float32_matmul_precision("high")
    maker = TensorMaker(Atlas.load(atlas), device, seed=seed)
    towers, config = (
        (load_towers(str(start), image_size=side), json.loads((start / CONFIG_FILE).read_text("utf-8"))["model_cfg"])
        if start
        else new_towers(train_tokenizer(), side, seed)
    )
    towers = towers.requires_grad_(True).train().to(device)
    report: dict[str, Any] = {"device": name_of(device), "torch": torch.__version__, "batch": batch, "side": side}
    report["maker_pictures_per_second"] = rate_of_maker(maker, batch, side, device)
    write_json(out / "report.json", report)

    probes = [single_things_of(maker, 1000 if device != "cpu" else 50, side)]
    shared = {"learning_rate": learning_rate, "warmup": 400, "mean_decay": 0.999, "workers": 0, "seed": seed}

    def run(steps: int, cooldown: int) -> None:
        settings = PretrainConfig(steps=steps, cooldown=cooldown, save_minutes=2.0, **shared)
        batches = TensorBatches(maker, batch, steps, side, seed=seed)
        pretrain(towers, config, batches, settings, work, settings={"batch": batch, "side": side}, probes=probes)
        for path in work.iterdir():
            if path.suffix in (".json", ".jsonl") or path.name == "open_clip_model.safetensors":
                shutil.copy2(path, out / path.name)

    clock = time.monotonic()
    run(timed_steps, 0)
    rate = timed_steps / (time.monotonic() - clock)
    left = 60 * minutes - (time.monotonic() - began)
    steps = timed_steps + max(1, int(SPARE * left * rate))
    report |= {"timed_steps_per_second": rate, "pictures_per_second": rate * batch, "steps": steps}
    write_json(out / "report.json", report)
    run(steps, steps // 4)
    lines = [json.loads(line) for line in (work / "pretrain.jsonl").read_text("utf-8").splitlines()]
    named = [{"step": line["step"], **line["named_right"]} for line in lines if line.get("named_right")]
    report |= {"named_right": named, "seconds": time.monotonic() - began}
    write_json(out / "report.json", report)
    click.echo(json.dumps(report))


def name_of(device: str) -> str:
    """The GPU's name, or the device as it was given."""
    return torch.cuda.get_device_name(device) if torch.device(device).type == "cuda" else device


def rate_of_maker(maker: TensorMaker, batch: int, side: int, device: str) -> dict[str, float]:
    """Pictures a second of scenes and of mosaics, the model left out."""
    rates = {}
    for parts in (1, 3):
        batches = TensorBatches(maker, batch, 100, side, parts=(parts,))
        made = batches[0].pixels
        clock, count = time.monotonic(), 0
        while count < 10 and time.monotonic() - clock < 5:
            made = batches[count].pixels
            count += 1
        made.sum().item()  # waits for the device
        rates[f"parts {parts}"] = round(count * batch / (time.monotonic() - clock), 1)
    return rates


if __name__ == "__main__":
    main()
