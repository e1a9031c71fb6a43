"""``from clsclip import Segmenter`` works without PyTorch, and imports nothing before it is used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import clsclip
import clsclip_runtime

BLOCK = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "open_clip", "onnx", "matplotlib", "skimage", "resvg_py"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocked())
"""


def python(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", BLOCK + code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_it_segments_without_torch() -> None:
    done = python(
        "import clsclip\n"
        "assert 'numpy' not in sys.modules\n"
        "from clsclip import Segmenter\n"
        "result = Segmenter.load()(sys.argv[1], ['dog'])\n"
        "assert 'torch' not in sys.modules\n"
        "print(clsclip.__version__, result.masks.any())",
        Path(__file__).parents[2] / "examples" / "cluttered.png",
    )
    assert done.stdout.split() == [clsclip_runtime.__version__, "True"], done.stderr


def test_it_has_every_public_name_of_the_runtime() -> None:
    assert set(clsclip.__all__) == set(dir(clsclip)) == set(clsclip_runtime.__all__)
    for name in clsclip_runtime.__all__:
        assert getattr(clsclip, name) is getattr(clsclip_runtime, name)
    with pytest.raises(AttributeError, match="'clsclip' has no attribute 'nothing'"):
        _ = clsclip.nothing  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("module", "program", "needs", "arguments"),
    [
        (
            "clsclip.cli.train",
            "clsclip-train",
            "torch is not installed [train]",
            ["--towers", "x", "--data", "folder", "--root", "x"],
        ),
        (
            "clsclip.cli.evaluate",
            "clsclip-eval",
            "torch is not installed [train]",
            ["run", "--data", "folder", "--root", "x"],
        ),
        ("clsclip_export.cli", "clsclip-export", "is not installed [export]", ["--ckpt", __file__]),
        ("clsclip_bench.cli", "clsclip-bench", "a plot needs matplotlib [bench]", ["--plot", "x.png"]),
    ],
)
def test_commands_without_their_extra_say_what_to_install(
    module: str, program: str, needs: str, arguments: list[str], tmp_path: Path
) -> None:
    run = f"from {module} import main\nsys.exit(main(sys.argv[1:]))"
    helped = python(run, "--help")
    assert helped.returncode == 0 and "Usage:" in helped.stdout, helped.stderr
    if "--ckpt" in arguments or "--towers" in arguments:
        arguments = [*arguments, "--out", str(tmp_path / "out")]
    done = python(run, *arguments)
    what, _, extra = needs.partition(" [")
    (line,) = done.stderr.splitlines()
    assert done.returncode in (1, 2) and done.stdout == ""
    assert line.startswith(f"{program}: ") and what in line
    assert "Run: " in line and line.endswith(f"[{extra}'")
