"""Fresh installations, each tried by what it is for; a table of the time that each took.

    python -m tests.installs [--only NAME] [--work build/installs]

Everything that is downloaded goes through pip's own cache, so a second run takes a fraction of the first. Environments
stay in ``--work`` until the next run. The network is needed, and 12 GB of disk for all of them.
"""

from __future__ import annotations

import configparser
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import click

ROOT = Path(__file__).parents[2]
IMAGE = ROOT / "examples" / "cluttered.png"
CHECKPOINT = ROOT / "models" / "stickers" / "last.safetensors"

LOW_TESTS = (
    "tests/runtime/test_segmenter.py",
    "tests/runtime/detectors/test_detector.py",
    "tests/runtime/video/test_capture.py",
    "tests/runtime/video/test_streams.py",
)
"""Run with the lowest versions: the runtime, detectors and videos."""

EXTRAS = {
    "train": ("torch", "matplotlib"),
    "export": ("torch", "onnxscript"),
    "bench": ("matplotlib",),
    "video": ("av",),
    "heic": ("pi_heif",),
    "detect": ("ultralytics", "cv2"),
    "gpu": ("cuda.bindings",),
    "openvino": ("openvino",),
    "tensorrt-rtx": ("tensorrt_rtx",),
    "serve": (),
    "hub": (),
    "scale": (),
    "ray": ("ray",),
    "peers": ("transformers",),
}
"""Modules that each extra must bring. ``tensorrt`` needs its maker's own index, and ``dev`` is what runs the tests."""


class FailedError(Exception):
    """An installation does not do what it is for."""


class Environment:
    """A virtual environment of its own."""

    def __init__(self, folder: Path) -> None:
        """Make it anew."""
        shutil.rmtree(folder, ignore_errors=True)
        self.folder, self.bin = folder, folder / "bin"
        run([sys.executable, "-m", "venv", str(folder)])

    def pip(self, *arguments: str) -> None:
        """Run pip."""
        run([str(self.bin / "pip"), "install", "--quiet", "--disable-pip-version-check", *arguments])

    def python(self, code: str, *arguments: str) -> str:
        """What a program prints."""
        return run([str(self.bin / "python"), "-c", code, *arguments])

    def shell(self, line: str) -> str:
        """What a command prints, given as a user types it, with this environment's programs first."""
        return run(["bash", "-c", line], PATH=f"{self.bin}{os.pathsep}{os.environ['PATH']}")

    def main_job(self, *options: str) -> None:
        """Segment the example picture; FailedError if it is not found what is there."""
        done = run([str(self.bin / "clsclip-infer"), str(IMAGE), "--json", "--classes", "bottle", "pizza", *options])
        found = [one["status"] for one in json.loads(done)["classes"]]
        if found != ["found", "absent"]:
            raise FailedError(f"the main job found {found}")


def run(command: Sequence[str], **variables: str) -> str:
    """Run a command and return what it prints; FailedError with its last lines if it fails."""
    # The packages of this checkout must be those that were installed, not those that lie here.
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        command, cwd=ROOT, env={**clean, "CLSCLIP_CACHE": "off", **variables}, capture_output=True, text=True,
        timeout=3600, check=False,
    )  # fmt: skip
    if done.returncode:
        raise FailedError(f"{' '.join(command)[:200]}:\n{(done.stdout + done.stderr)[-2000:]}")
    return done.stdout


def requirements() -> dict[str, list[str]]:
    """Requirements of the base ("") and of every extra, as setup.cfg states them."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", "utf-8")
    listed = {"": config["options"]["install_requires"], **config["options.extras_require"]}
    return {name: [line for line in text.splitlines() if line] for name, text in listed.items()}


def lowest(*extras: str) -> list[str]:
    """The requirements of the base and some extras at their lowest versions; where two bounds differ, the higher."""
    found: dict[str, tuple[int, ...]] = {}
    for line in [one for extra in ("", *extras) for one in requirements()[extra]]:
        name, bound = re.match(r"([\w.\[\]-]+?)\s*>=\s*([\d.]+)", line.partition(";")[0]).groups()  # type: ignore[union-attr]
        version = tuple(int(part) for part in bound.split("."))
        found[name] = max(version, found.get(name, ()))
    return [f"{name}=={'.'.join(map(str, version))}" for name, version in found.items()]


def low_runtime(work: Path) -> None:
    """The runtime with every dependency at its lowest version: the main job in both engines, and its tests."""
    made = Environment(work / "low-runtime")
    of_tests = (
        "pytest>=8",
        "hypothesis>=6.100",
        "jsonschema>=4.18",
        "onnx==1.17.0",
        "opencv-python-headless==4.8.0.76",
    )
    made.pip(*lowest("openvino", "video", "bench"), *of_tests)
    made.pip("--no-deps", ".")
    for backend in ("onnxruntime-cpu", "openvino"):
        made.main_job("--backend", backend)
    tests = [str(made.bin / "python"), "-m", "pytest", "-q", "-m", "'not slow'", "-W", "default"]
    # The installed packages, and the tests beside them: the checkout itself is not on the path.
    copy = work / "low-tests"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(ROOT / "tests", copy / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "examples", copy / "examples")
    shutil.copy(ROOT / "pyproject.toml", copy)
    run(["bash", "-c", f"cd {copy} && {' '.join(tests)} {' '.join(LOW_TESTS)}"])


def low_export(work: Path) -> None:
    """Training and export with every dependency at its lowest version: the embedded model's checkpoint to a bundle."""
    made = Environment(work / "low-export")
    made.pip(*lowest("train", "export"))
    made.pip("--no-deps", ".")
    bundle = work / "low.clsclip"
    run([str(made.bin / "clsclip-export"), "--ckpt", str(CHECKPOINT), "--out", str(bundle), "--force"])
    made.main_job("--model", str(bundle))


def extra(name: str) -> Callable[[Path], None]:
    """The job of one extra, as pip resolves it today."""

    def job(work: Path) -> None:
        made = Environment(work / name)
        made.pip(f".[{name}]")
        for module in EXTRAS[name]:
            made.python("import importlib, sys; importlib.import_module(sys.argv[1])", module)
        opencvs = made.python(
            "from importlib.metadata import packages_distributions; print(*packages_distributions().get('cv2', []))"
        )
        if len(set(opencvs.split())) > 1:
            raise FailedError(f"two OpenCVs in one folder: {opencvs}")
        made.main_job()

    return job


def gpu(work: Path) -> None:
    """The command that README, doctor and messages print; then another extra brings the CPU edition back."""
    made = Environment(work / "gpu-command")
    line = next(one for one in (ROOT / "README.md").read_text("utf-8").splitlines() if "[gpu]' && pip" in one).split(
        "`"
    )[1]
    made.shell(line)
    providers = "import onnxruntime; print(*onnxruntime.get_available_providers())"
    if "CUDAExecutionProvider" not in made.python(providers):
        raise FailedError(f"after {line}: only {made.python(providers)}")
    made.main_job("--backend", "onnxruntime-cpu")
    made.pip(".[heic]")
    found = json.loads(made.shell("clsclip-doctor --json"))["findings"]
    told = [one for one in found if one["name"] == "onnxruntime" and one["state"] == "fail"]
    if not told or "onnxruntime and onnxruntime-gpu" not in told[0]["detail"] or not told[0]["fix"].endswith(line):
        raise FailedError(f"doctor does not name what came back: {told}")
    made.shell(told[0]["fix"])
    if "CUDAExecutionProvider" not in made.python(providers):
        raise FailedError(f"after doctor's own command {told[0]['fix']}: only {made.python(providers)}")
    made.main_job("--backend", "onnxruntime-cpu")


def stale(work: Path) -> None:
    """What an earlier build left in ``build/`` is not installed."""
    source = work / "stale-source"
    shutil.rmtree(source, ignore_errors=True)
    run(["git", "clone", "--quiet", "--depth", "1", f"file://{ROOT}", str(source)])
    left = source / "build" / "lib" / "clsclip_runtime" / "left_behind.py"
    left.parent.mkdir(parents=True)
    left.write_text("")
    made = Environment(work / "stale")
    made.pip(str(source))
    if made.python("import importlib.util as u; print(u.find_spec('clsclip_runtime.left_behind'))").strip() != "None":
        raise FailedError("a module that only build/ had was installed")


def windows_checkout(work: Path) -> None:
    """A clone with Git for Windows' default has the bytes that were hashed."""
    source = work / "windows"
    shutil.rmtree(source, ignore_errors=True)
    run(["git", "clone", "--quiet", "-c", "core.autocrlf=true", "--depth", "1", f"file://{ROOT}", str(source)])
    made = Environment(work / "windows-env")
    made.pip(str(source))
    made.main_job()


def jobs() -> dict[str, Callable[[Path], None]]:
    """All jobs by name."""
    first = {"low-runtime": low_runtime, "low-export": low_export, "gpu-command": gpu}
    known = requirements()
    each = {f"extra-{name}": extra(name) for name in EXTRAS if name in known}
    return {**first, "stale-build": stale, "windows-checkout": windows_checkout, **each}


@click.command()
@click.option("--only", multiple=True, type=click.Choice(list(jobs())), help="Jobs to run; all without it.")
@click.option("--work", default=ROOT / "build" / "installs", type=click.Path(path_type=Path), help="Environments.")
def main(only: tuple[str, ...], work: Path) -> None:
    """Install in every way that is promised, and try what was installed."""
    work.mkdir(parents=True, exist_ok=True)
    failed = []
    for name, job in jobs().items():
        if only and name not in only:
            continue
        begin = time.monotonic()
        try:
            job(work.resolve())
        except FailedError as error:
            failed.append(name)
            click.echo(f"{name}: {error}", err=True)
        click.echo(f"{name:20} {'FAILED' if name in failed else 'works':8} {time.monotonic() - begin:6.0f} s")
        for folder in work.iterdir():  # the disk is not for all of them at once
            shutil.rmtree(folder, ignore_errors=True)
    if failed:
        raise click.ClickException(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
