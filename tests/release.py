"""Make the files of a release, and hold them to what they must be: ``make dist``.

    python -m tests.release [--out dist]

A source distribution and a wheel that is built from it, each of at most 25 MB; the same version in every place.
``tests/test_release.py`` tries the wheel without a network.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import click

from clsclip_runtime.version import __version__

ROOT = Path(__file__).parents[1]
MOST_BYTES = 25_000_000


def build(out: Path) -> tuple[Path, Path]:
    """Build the source distribution, and the wheel from it; ClickException if one is missing or too large."""
    shutil.rmtree(out, ignore_errors=True)
    # Without isolation, since the tools are here already: no network is used.
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise click.ClickException(f"the build failed:\n{(done.stdout + done.stderr)[-3000:]}")
    made = out / f"clsclip-{__version__}.tar.gz", out / f"clsclip-{__version__}-py3-none-any.whl"
    for path in made:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise click.ClickException(f"{path.name} has {size / 1e6:.1f} MB, and {MOST_BYTES / 1e6:.0f} are the most")
        click.echo(f"{size / 1e6:6.1f} MB  {path}")
    return made


def stated_versions(root: Path = ROOT) -> dict[str, str]:
    """The version that other files state; all else, C++ too, reads ``clsclip_runtime/version.py``."""
    patterns = {
        "CITATION.cff": r"^version: (\S+)$",
        "CHANGELOG.md": r"^## \[?(\d[^\s\]]*)\]? - ",
    }
    found = {}
    for name, pattern in patterns.items():
        match = re.search(pattern, (root / name).read_text("utf-8"), re.MULTILINE)
        found[name] = match[1] if match else "none"
    return found


@click.command()
@click.option("--out", default=ROOT / "dist", type=click.Path(path_type=Path), help="Folder; emptied first.")
def main(out: Path) -> None:
    """Build, and check sizes and versions."""
    wrong = {name: version for name, version in stated_versions().items() if version != __version__}
    if wrong:
        raise click.ClickException(f"the version is {__version__}, and other files state {wrong}")
    build(out)


if __name__ == "__main__":
    main()
