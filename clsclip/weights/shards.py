"""Weights in several files, with an index that says which weight lies where."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from clsclip.errors import TowersError
from clsclip.weights.documents import read_object
from clsclip_runtime.paths import is_file

INDEX = ".index.json"
"""End of an index's name."""

_WEIGHT_MAP = "weight_map"
_SHARD = re.compile(r"(.+)-(\d{5})-of-(\d{5})(\.\w+)")
_PLAIN_NAME = re.compile(r"\w[\w.-]*", re.ASCII)


def is_index(path: Path) -> bool:
    """Whether a JSON document is an index of weights. TowersError where it is damaged."""
    return _WEIGHT_MAP in read_object(path)


def read_index(path: Path) -> dict[str, list[str]]:
    """Names of the files that an index lists, each with the names of its weights.

    Raises:
        TowersError: it is damaged, or names files that are not in its own folder.
    """
    places = read_object(path).get(_WEIGHT_MAP)
    if not isinstance(places, Mapping) or not places:
        raise TowersError(f"{path} is no index of weights: it has no {_WEIGHT_MAP}. Fetch the file again.")
    found: dict[str, list[str]] = {}
    for name, shard in places.items():
        if not isinstance(shard, str) or _PLAIN_NAME.fullmatch(shard) is None:
            raise TowersError(f"{path} says that {name[:80]} is in {str(shard)[:80]!a}, which is no file beside it.")
        found.setdefault(shard, []).append(name)
    return found


def shard_paths(path: Path) -> list[Path]:
    """Files that hold the weights of a file: itself, or what it lists if it is an index. TowersError as above."""
    return [path.parent / name for name in read_index(path)] if path.name.endswith(INDEX) else [path]


def check_present(path: Path, shards: Mapping[str, object]) -> None:
    """TowersError names the files that an index lists and that are not there."""
    absent = [name for name in shards if not is_file(path.parent / name)]
    if absent:
        raise TowersError(
            f"{path} lists {', '.join(absent[:3])}, and {len(absent)} of its {len(shards)} files are not there. "
            "Fetch all of them into its folder."
        )


def check_content(path: Path, shard: str, listed: list[str], found: Mapping[str, object]) -> None:
    """TowersError where a file of an index holds other weights than the index says."""
    for names, what in ((set(listed) - found.keys(), "lacks"), (found.keys() - set(listed), "holds")):
        for name in sorted(names):
            end = ", which the index places there" if what == "lacks" else ", which the index does not place there"
            raise TowersError(f"{path.parent / shard} {what} the weight {name}{end}. Fetch {path.name} and it again.")


def check_whole(path: Path) -> None:
    """TowersError where a file's name says that it is one of several."""
    found = _SHARD.fullmatch(path.name)
    if found is not None and int(found[3]) > 1:
        index = f"{found[1]}{found[4]}{INDEX}"
        raise TowersError(
            f"{path} is one of {int(found[3])} files of the same weights. Give their folder, or {index} in it."
        )
