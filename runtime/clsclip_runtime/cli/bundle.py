"""``clsclip-bundle``: what can be done with a bundle besides running it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from clsclip_runtime.backends.select import BACKENDS
from clsclip_runtime.bundle.editing import edit_bundle
from clsclip_runtime.bundle.opening import Bundle
from clsclip_runtime.bundle.upgrade import NEW_SCHEMA, upgrade_bundle
from clsclip_runtime.cli.output import echo, json_option, print_json
from clsclip_runtime.cli.runner import run_command
from clsclip_runtime.cli.sections import Group
from clsclip_runtime.errors import one_line
from clsclip_runtime.paths import readable
from clsclip_runtime.version import __version__

PROGRAM = "clsclip-bundle"

_FOLDER = click.Path(path_type=Path)


EXAMPLES = """\b
Examples:
  clsclip-bundle inspect model.clsclip
  clsclip-bundle verify model.clsclip
  clsclip-bundle compare model.clsclip small.clsclip photos/*.jpg
  clsclip-bundle edit model.clsclip --name mine --license MIT
  clsclip-bundle upgrade old.clsclip new.clsclip

\b
Exit codes: 0 done, 1 a failure, 2 wrong use."""


@click.group(cls=Group, epilog=EXAMPLES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name=PROGRAM)
def command() -> None:
    """Work on bundles, the folders that clsclip-export writes."""


@command.command(short_help="Bring a bundle of clsclip 0.1 to this version.")
@click.argument("old", type=_FOLDER)
@click.argument("new", type=_FOLDER)
@click.option("--force", is_flag=True, help="Replace NEW if it exists, once the upgraded bundle is complete.")
@json_option("One JSON document on standard output.")
def upgrade(old: Path, new: Path, force: bool, as_json: bool) -> None:
    """Write the bundle OLD, which clsclip 0.1 made, as NEW, which this version reads.

    Masks stay the same bit for bit. OLD is verified first, and left as it is.
    """
    notes = upgrade_bundle(old, new, force=force)
    if as_json:
        print_json({"bundle": readable(new), "schema_version": NEW_SCHEMA, "notes": list(notes)})
        return
    for note in notes:
        echo(f"note: {one_line(note)}", err=True)
    echo(f"{new} written: schema version {NEW_SCHEMA}")


@command.command(short_help="Show licenses, trust, thresholds and cost.")
@click.argument("bundle", type=_FOLDER, required=False)
@click.option("--backend", type=click.Choice(["auto", *BACKENDS]), default="auto", help="Engine whose cost is taken.")
@click.option("--no-cost", is_flag=True, help="Do not run the model: no times, no memory.")
@json_option("One JSON document on standard output.")
def inspect(bundle: Path | None, backend: str, no_cost: bool, as_json: bool) -> None:
    """Show what a bundle is: licenses of all parts, how far it can be trusted, thresholds, cost on this machine.

    Without BUNDLE, the embedded model.
    """
    from clsclip_runtime.cli.inspection import cost, facts

    found = facts(Bundle.open(bundle))
    if not no_cost:
        from clsclip_runtime.segmenter import Segmenter

        with Segmenter.load(bundle, backend) as segmenter:
            found["cost"] = cost(segmenter)
    if as_json:
        print_json(found)
        return
    for name, value in found.items():
        if value is not None and value != "":
            echo(f"{name.replace('_', ' '):<20} {one_line(_shown(name, value))}")


def _shown(name: str, value: object) -> str:
    """A fact for people."""
    if name.endswith("_bytes") and isinstance(value, int):
        return f"{value / 2**20:,.1f} MiB"
    if isinstance(value, dict):
        parts = (f"{key.replace('_', ' ').removesuffix(' bytes')} {_shown(key, one)}" for key, one in value.items())
        return ", ".join(parts)
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


@command.command(short_help="Check every file and graph.")
@click.argument("bundle", type=_FOLDER, required=False)
@json_option("One JSON document on standard output.")
def verify(bundle: Path | None, as_json: bool) -> None:
    """Compare every file of a bundle with its SHA-256, and read every graph. Exit code 1 where something is wrong.

    Without BUNDLE, the embedded model.
    """
    opened = Bundle.open(bundle)
    files, size = len(opened.manifest.files), sum(one.bytes for one in opened.manifest.files.values())
    if as_json:
        print_json({"bundle": readable(opened.folder), "verified": True, "files": files, "bytes": size})
    else:
        echo(f"{opened.folder}: {files} files, {size / 2**20:.1f} MiB, every one is what the manifest states")


@command.command(short_help="Show in what two bundles differ.")
@click.argument("first", type=_FOLDER)
@click.argument("second", type=_FOLDER)
@click.argument("images", metavar="[PICTURES]...", type=_FOLDER, nargs=-1)
@click.option("--classes", help="Words to compare with, commas between. Default: 20 nouns.")
@click.option("--backend", type=click.Choice(["auto", *BACKENDS]), default="auto", help="Engine of both.")
@json_option("One JSON document on standard output.")
def compare(
    first: Path, second: Path, images: tuple[Path, ...], classes: str | None, backend: str, as_json: bool
) -> None:
    """Show in what two bundles differ, and with PICTURES how their masks agree."""
    from clsclip_runtime.cli.inspection import WORDS, compare_masks, differing
    from clsclip_runtime.text.typed import typed_classes

    opened = [Bundle.open(one) for one in (first, second)]
    differences = differing(opened[0].manifest.raw, opened[1].manifest.raw)
    names = opened[0].manifest.files.keys() | opened[1].manifest.files.keys()
    files = sorted(one for one in names if opened[0].manifest.files.get(one) != opened[1].manifest.files.get(one))
    rows: list[dict[str, Any]] = []
    if images:
        from clsclip_runtime.segmenter import Segmenter

        words = typed_classes([classes]).words if classes else WORDS
        with Segmenter.load(first, backend) as one, Segmenter.load(second, backend) as other:
            rows = compare_masks(one, other, images, words)
    if as_json:
        told = [{"key": key, "first": own, "second": its} for key, own, its in differences]
        print_json({"differences": told, "files": files, "pictures": rows})
        return
    for key, own, its in differences:
        echo(one_line(f"{key}: {own!r} and {its!r}", 200))
    echo(f"{len(files)} of {len(names)} files differ: {one_line(', '.join(files))}" if files else "all files are equal")
    for row in rows:
        agree = "no word is marked by either"
        if row["mean_iou"] is not None:
            agree = f"mean IoU {row['mean_iou']:.4f} of {row['words_marked']} words"
        echo(f"{one_line(row['picture'])}: {agree}, {row['ms'][0]:.0f} and {row['ms'][1]:.0f} ms")


@command.command(short_help="Change name, license, prompts, thresholds.")
@click.argument("bundle", type=_FOLDER)
@click.option("--name", help="Name of the model.")
@click.option("--license", help="License of the weights.")
@click.option("--description", help="A sentence: what the model knows.")
@click.option("--template", "templates", multiple=True, help="Prompt with {} for the word; repeat to average several.")
@click.option("--mask-threshold", type=float, help="Probability that a pixel must exceed.")
@click.option("--presence-threshold", type=float, help="Presence that a word must have; 0 asks for none.")
@json_option("One JSON document on standard output.")
def edit(bundle: Path, templates: tuple[str, ...], as_json: bool, **values: Any) -> None:
    """Change what a bundle says of itself, in place. Graphs stay as they are; the manifest notes what was changed."""
    changes = {name: value for name, value in values.items() if value is not None}
    changes |= {"templates": list(templates)} if templates else {}
    if not changes:
        raise click.UsageError("Give what to change, such as --name or --mask-threshold.")
    told = edit_bundle(bundle, changes)
    if as_json:
        print_json({"bundle": readable(bundle), "changes": told})
        return
    for line in told or ["nothing was changed: these are its values"]:
        echo(one_line(line))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    return run_command(command, PROGRAM, argv)


if __name__ == "__main__":
    sys.exit(main())
