"""``clsclip``: the commands of this project, and which of them this installation can run."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec

import click

from clsclip_runtime.cli.output import echo, json_option, print_json
from clsclip_runtime.cli.runner import run_command
from clsclip_runtime.cli.sections import Command
from clsclip_runtime.extras import install_command
from clsclip_runtime.version import __version__

PROGRAM = "clsclip"

COMMANDS: dict[str, tuple[str, str | None, str | None]] = {
    "clsclip-infer": ("segment pictures, videos, cameras, streams", None, None),
    "clsclip-bundle": ("inspect, verify, compare, edit, upgrade models", None, None),
    "clsclip-doctor": ("say what works on this machine, and clear the cache", None, None),
    "clsclip-data": ("check masks and annotations, and convert them", None, None),
    "clsclip-train": ("train on masks", "torch", "train"),
    "clsclip-eval": ("measure models, and draw what they do", "torch", "train"),
    "clsclip-export": ("turn checkpoints and published weights into models", "onnxscript", "export"),
    "clsclip-serve": ("segment over HTTP, with a page", "starlette", "serve"),
    "clsclip-batch": ("segment many images into a table", "pyarrow", "scale"),
    "clsclip-bench": ("measure how fast models are on this machine", None, None),
}
"""What each does, and the module and the extra that it needs beyond a plain installation."""

EXAMPLES = """\b
Examples:
  clsclip-infer photo.jpg --classes bottle boat
  clsclip-doctor
  clsclip-infer --help"""


@click.command(cls=Command, epilog=EXAMPLES, context_settings={"help_option_names": ["-h", "--help"]})
@json_option("One JSON document in place of lines.")
@click.version_option(__version__, prog_name=PROGRAM)
def command(as_json: bool) -> None:
    """List the commands of this project, what each does, and what some of them need first."""
    missing = {
        name: extra for name, (_, module, extra) in COMMANDS.items() if module and extra and find_spec(module) is None
    }
    if as_json:
        print_json({"version": __version__, "commands": {name: name not in missing for name in COMMANDS}})
        return
    echo(f"clsclip {__version__}\n")
    for name, (text, _, _) in COMMANDS.items():
        extra = missing.get(name)
        echo(f"  {name:<15} {text}" + (f" (needs the extra {extra})" if extra else ""))
    if missing:
        echo(f"\nAn extra is added like this: {install_command(next(iter(missing.values())))}")
    echo("\nEach has --help. Segment a picture: clsclip-infer photo.jpg --classes bottle boat")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    return run_command(command, PROGRAM, arguments)


if __name__ == "__main__":
    sys.exit(main())
