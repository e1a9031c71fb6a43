"""A campaign of kills: ``python -m tests.fuzz.kills [--count N] [--seed N] [--what infer|video|words|export ...]``.

A command is ended by KILL, TERM, HUP or INT at a random moment, again and again, over the outputs that it left. After
each, no file under a final name is half-written, and none differs from that of a run that was left alone. At the end,
after one run that is left alone, every file is there, is the same, and nothing is left over.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from clsclip_runtime import scratch
from clsclip_runtime.bundle.opening import Bundle
from clsclip_runtime.cli.outputs import RECORD
from tests.runtime.tiny_bundle import make_bundle, paint
from tests.runtime.video.made import make_video

SIGNALS = ("SIGKILL", "SIGTERM", "SIGHUP", "SIGINT")
CODES = {"SIGKILL": -signal.SIGKILL, "SIGTERM": 143, "SIGHUP": 129, "SIGINT": 130}
WORDS = ("red", "green", "blue", "dining table")
LONGEST_S = 120.0

Content = Mapping[str, Any]
"""What the files of a folder mean, by name; a ``Problem`` in the place of one that is damaged."""


@dataclass
class Report:
    """What a campaign found.

    Attributes:
        kills: by signal.
        unkilled: runs that ended before the signal came.
        faults: one line each.
    """

    kills: Counter[str] = field(default_factory=Counter)
    unkilled: int = 0
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """For people."""
        kills = ", ".join(f"{name} {count}" for name, count in sorted(self.kills.items()))
        return (
            f"{sum(self.kills.values())} kills ({kills}), {self.unkilled} runs ended before; {len(self.faults)} faults"
        )


class Job:
    """A command, what its outputs mean, and what they must mean at any moment and at the end.

    Attributes:
        name: for people.
        arguments: of ``python -m``; they resume what is there.
    """

    name = ""
    arguments: tuple[str, ...] = ()

    def __init__(self, folder: Path, bundle: Path) -> None:
        """Make the inputs in ``folder``."""
        self.folder, self.bundle = folder, bundle
        self.out = folder / "out"
        folder.mkdir(parents=True)

    def environment(self) -> dict[str, str]:
        """Of the process."""
        paths = os.pathsep.join(path for path in sys.path if path)
        return os.environ | {"CLSCLIP_CACHE": str(self.folder / "cache"), "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}

    def start(self) -> subprocess.Popen[bytes]:
        """Begin a run."""
        return subprocess.Popen(
            [sys.executable, "-m", *self.arguments],
            cwd=self.folder,
            env=self.environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            # A parent that runs in the background ignores Ctrl-C, and its children would inherit that.
            preexec_fn=lambda: [signal.signal(number, signal.SIG_DFL) for number in (signal.SIGINT, signal.SIGHUP)],
        )

    def content(self) -> Content:
        """What the outputs mean now."""
        raise NotImplementedError

    def clear(self) -> None:
        """Begin again with an empty folder."""
        shutil.rmtree(self.out, ignore_errors=True)

    def differs(self, found: Content, wanted: Content) -> list[str]:
        """What is wrong with the outputs of a run that was killed: here, a file that is not the wanted one."""
        return [name for name in found if name not in wanted or found[name] != wanted[name]]


def _files(folder: Path) -> list[Path]:
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()] if folder.is_dir() else []
    return [path for path in paths if path.name != RECORD and not any(map(scratch.is_scratch, path.parts))]


def meaning(path: Path) -> Any:
    """What a file holds, in a form that can be compared; ValueError or OSError where it is damaged."""
    if path.suffix == ".png":
        with Image.open(path) as image:
            return image.mode, image.size, image.tobytes()
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            return {name: (arrays[name].shape, arrays[name].tobytes()) for name in arrays.files}
    if path.suffix == ".json":
        return json.loads(path.read_text("utf-8"))
    raise ValueError(f"an unknown file: {path.name}")


class Images(Job):
    """``clsclip-infer`` of a folder, resumed with ``--skip-existing``."""

    name = "infer"

    def __init__(self, folder: Path, bundle: Path, count: int = 12) -> None:
        """Make the inputs: ``count`` pictures."""
        super().__init__(folder, bundle)
        (folder / "in").mkdir()
        for number in range(count):
            word = WORDS[number % 3]
            pixels = paint({word: (slice(1, 3 + number % 4), slice(1, 5))})
            Image.fromarray(pixels).resize((320, 240), Image.Resampling.NEAREST).save(folder / "in" / f"{number}.png")
        self.arguments = ("clsclip_runtime", "in", "--classes", *WORDS, "--model", str(bundle), "--out", "out")
        self.arguments += ("--formats", "png,overlay,labels,coco,npz", "--skip-existing", "-q")

    def content(self) -> Content:
        """See ``Job.content``; of ``coco.json`` every image with its masks, by name."""
        found = {path.name: meaning(path) for path in _files(self.out)}
        if "coco.json" in found:
            document = found["coco.json"]
            masks: dict[int, list[Any]] = {one["id"]: [] for one in document["images"]}
            for one in document["annotations"]:
                masks[one["image_id"]].append((one["category_id"], one["segmentation"], one["area"]))
            found["coco.json"] = {one["file_name"]: sorted(masks[one["id"]], key=repr) for one in document["images"]}
        return found

    def differs(self, found: Content, wanted: Content) -> list[str]:
        """See ``Job.differs``: a run that was stopped leaves a document of the images that it had finished."""
        name = "coco.json"
        if name in found and name in wanted and found[name].items() <= wanted[name].items():
            found = {**found, name: wanted[name]}
        return super().differs(found, wanted)


class Video(Job):
    """``clsclip-infer`` of a video: what was stopped is a beginning of the whole; what was killed leaves nothing."""

    name = "video"

    def __init__(self, folder: Path, bundle: Path, count: int = 150) -> None:
        """Make the inputs: a video of ``count`` frames."""
        super().__init__(folder, bundle)
        make_video(folder / "clip.mp4", count)
        self.arguments = ("clsclip_runtime", "clip.mp4", "--classes", "red", "--model", str(bundle), "--out", "out")
        self.arguments += ("--formats", "overlay,coco,labels", "-q")

    def content(self) -> Content:
        """See ``Job.content``."""
        import av

        found: dict[str, Any] = {}
        for path in _files(self.out):
            if path.suffix == ".mp4":
                with av.open(str(path)) as container:
                    found[path.name] = [
                        (frame.pts, frame.to_ndarray(format="gray")[:64].tobytes())
                        for frame in container.decode(video=0)
                    ]
            elif path.name == "clip_coco.json":
                document = meaning(path)
                by_image: dict[int, list[Any]] = {one["id"]: [] for one in document["images"]}
                for one in document["annotations"]:
                    by_image[one["image_id"]].append((one["category_id"], one["segmentation"]))
                found[path.name] = sorted(by_image.items())
            else:
                found[path.name] = meaning(path)
        return found

    def differs(self, found: Content, wanted: Content) -> list[str]:
        """See ``Job.differs``: the overlay and the document may hold fewer frames, from the first on."""
        wrong = []
        for name, one in found.items():
            whole = wanted.get(name)
            beginning = isinstance(one, list) and isinstance(whole, list) and one == whole[: len(one)] and one
            if one != whole and not beginning:
                wrong.append(name)
        return wrong


PROGRAM = """
import sys
from pathlib import Path
from clsclip_runtime import Segmenter
import numpy as np
rows = {}
with Segmenter.load(sys.argv[1], "onnxruntime-cpu", threads=1) as segmenter:
    for start in range(0, 240, 3):
        words = [f"thing {number}" for number in range(start, start + 3)]
        result = segmenter(np.zeros((32, 32, 3), np.uint8), words, presence_threshold=0)
        rows |= {one.name: one.presence for one in result}
import json
from clsclip_runtime.paths import write_json
Path(sys.argv[2]).parent.mkdir(exist_ok=True)
write_json(Path(sys.argv[2]), rows)
"""


class Words(Job):
    """The cache of encoded words: what it gives after a kill is what is encoded anew."""

    name = "words"

    def __init__(self, folder: Path, bundle: Path) -> None:
        """Write the program."""
        super().__init__(folder, bundle)
        (folder / "words.py").write_text(PROGRAM, encoding="utf-8")
        self.arguments = ("words", str(bundle), str(self.out / "words.json"))

    def environment(self) -> dict[str, str]:
        """See ``Job.environment``."""
        usual = super().environment()
        return usual | {"PYTHONPATH": os.pathsep.join((str(self.folder), usual["PYTHONPATH"]))}

    def clear(self) -> None:
        """See ``Job.clear``; the cache is empty as well."""
        super().clear()
        shutil.rmtree(self.folder / "cache", ignore_errors=True)

    def content(self) -> Content:
        """See ``Job.content``."""
        return {path.name: meaning(path) for path in _files(self.out)}


class Export(Job):
    """``clsclip-export`` over a bundle that is there: under its name stands the old or the new one, always whole."""

    name = "export"

    def __init__(self, folder: Path, bundle: Path) -> None:
        """Write the words; the old bundle knows none of them by heart."""
        super().__init__(folder, bundle)
        (folder / "words.txt").write_text("".join(f"thing {number}\n" for number in range(100)), encoding="utf-8")
        self.arguments = ("clsclip_export.cli", "--from-bundle", str(bundle), "--classes-file", "words.txt")
        self.arguments += ("--out", "out/model.clsclip", "--force")
        self.clear()
        self._old = self.content()

    def clear(self) -> None:
        """See ``Job.clear``; the old bundle stands there again."""
        super().clear()
        shutil.copytree(self.bundle, self.out / "model.clsclip")

    def content(self) -> Content:
        """See ``Job.content``: opening it verifies every file."""
        bundle = Bundle.open(self.out / "model.clsclip")
        return {name: entry.sha256 for name, entry in bundle.manifest.files.items()}

    def differs(self, found: Content, wanted: Content) -> list[str]:
        """See ``Job.differs``."""
        return [] if found in (wanted, self._old) else [name for name in found if found[name] != wanted.get(name)]


JOBS: dict[str, Callable[[Path, Path], Job]] = {one.name: one for one in (Images, Video, Words, Export)}


def campaign(job: Job, count: int, seed: int, tell: Callable[[str], None] = lambda line: None) -> Report:
    """Kill a job ``count`` times."""
    report, chance = Report(), random.Random(seed)
    start = time.monotonic()
    reference = job.start()
    _, told = reference.communicate(timeout=LONGEST_S)
    took = time.monotonic() - start
    if reference.returncode:
        raise RuntimeError(f"{job.name}: a run that was left alone ends with {reference.returncode}: {told!r}")
    wanted = job.content()
    job.clear()
    while sum(report.kills.values()) < count and report.unkilled < 20 * count + 20:
        name = chance.choice(SIGNALS)
        fault = _one(job, name, chance.uniform(0.1, 1.05) * took, wanted, report)
        if fault:
            report.faults.append(f"{job.name}, {name}: {fault}")
            tell(report.faults[-1])
        if chance.random() < 0.2:
            job.clear()
    _end(job, wanted, report)
    return report


def _one(job: Job, name: str, wait: float, wanted: Content, report: Report) -> str:
    """One run that is ended by a signal; what is wrong afterwards, or nothing."""
    process = job.start()
    time.sleep(wait)
    if process.poll() is None:
        process.send_signal(getattr(signal, name))
    try:
        _, told = process.communicate(timeout=LONGEST_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return f"does not end within {LONGEST_S:.0f} s"
    if process.returncode == 0:
        report.unkilled += 1
        job.clear()
    else:
        report.kills[name] += 1
        # Before the program listens, Python and the system end it in their own way.
        early = {-getattr(signal, name), 1 if b"KeyboardInterrupt" in told else CODES[name]}
        if process.returncode not in {CODES[name], *early}:
            return f"ends with {process.returncode}: {told[-200:]!r}"
    try:
        wrong = job.differs(job.content(), wanted)
    except Exception as error:
        return f"after {wait:.2f} s a file is damaged: {type(error).__name__} {error}"
    return f"after {wait:.2f} s other content: {wrong[:3]}" if wrong else ""


def _end(job: Job, wanted: Content, report: Report) -> None:
    """The run after the last kill: complete, equal, and nothing left over."""
    process = job.start()
    _, told = process.communicate(timeout=LONGEST_S)
    if process.returncode:
        report.faults.append(f"{job.name}: the run after the kills ends with {process.returncode}: {told[-200:]!r}")
        return
    found = job.content()
    if found != wanted:
        names = [name for name in {*found, *wanted} if found.get(name) != wanted.get(name)]
        report.faults.append(f"{job.name}: the run after the kills gives other files: {sorted(names)[:3]}")
    left = [path.name for path in job.out.rglob("*") if path.name.startswith(".") and path.name != RECORD]
    if left:
        report.faults.append(f"{job.name}: left over after the next run: {left[:3]}")


def main() -> int:
    """Run it and print the figures; 1 where there are faults."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.kills", description=__doc__)
    parser.add_argument("--count", type=int, default=60, help="kills in all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--what", choices=sorted(JOBS), nargs="+", default=sorted(JOBS))
    given = parser.parse_args()
    faults = 0
    with tempfile.TemporaryDirectory(prefix="clsclip-kills-") as folder:
        bundle = make_bundle(Path(folder) / "tiny.clsclip")
        for number, name in enumerate(given.what):
            job = JOBS[name](Path(folder) / name, bundle)
            share = given.count // len(given.what) + (number < given.count % len(given.what))
            report = campaign(job, share, given.seed + number, lambda line: print(line, flush=True))
            print(f"{name}: {report}", flush=True)
            for fault in report.faults:
                print(f"  {fault}", flush=True)
            faults += len(report.faults)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
