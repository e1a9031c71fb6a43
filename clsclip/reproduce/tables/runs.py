"""The runs behind a table: one training and one evaluation per row, fold and seed; what is done is not done again.

A run is a folder ``RUNS/<row>/fold<f>-seed<s>`` with the checkpoint, the training's log and ``result.json``. Rows with
the same model share their trainings, also across tables. Interrupt at any time and start the command again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from clsclip.data import Fold
from clsclip.errors import DataError
from clsclip.evaluation.evaluate import Method, evaluate
from clsclip.evaluation.predictors import Predictor, open_predictor
from clsclip.evaluation.protocol import Protocol
from clsclip.evaluation.regions import RegionSource
from clsclip.model import ClsClip, ModelConfig
from clsclip.reproduce.tables.published import Row, Table
from clsclip.towers import Towers
from clsclip.training.config import TrainConfig
from clsclip.training.loop import train
from clsclip_runtime.documents import read_json
from clsclip_runtime.paths import is_dir, is_file, write_json
from clsclip_runtime.regions import ZoomIn

_log = logging.getLogger(__name__)

PAPERS_ZOOM = ZoomIn(mask_threshold=0.5, mask_margin=None)
"""Masks of regions as in the paper: a box's name moves no threshold and cuts no mask."""


@dataclass(frozen=True)
class GivenModel:
    """A model that is measured as it is.

    Attributes:
        predictor: draws its masks.
        digest: names its content, so that another model's runs are not taken for its own.
    """

    predictor: Predictor
    digest: str


@dataclass(frozen=True)
class TableRun:
    """Everything that the runs of a table have in common.

    Attributes:
        open_fold: gives fold f's data.
        towers: frozen, shared by all runs.
        towers_source: an open_clip name with ``:tag``, or a folder.
        folds: fold numbers.
        seeds: seeds of the trainings.
        base: sizes of the decoder.
        training: settings of every training; its seed is replaced.
        protocol: how masks are compared.
        runs: folder of the runs.
        regions: where the regions of ClsCLIP+ come from: "regions" of a detector, "manual" ones from a file.
        limit: evaluate only so many pairs of every fold; None is all.
        data: what names the data, so that other data's runs are not taken for these.
        rows: rows to run, counted from 1; None is all of the table's.
        given: models that rows ask for by name (``clipseg``).
    """

    open_fold: Callable[[int], Fold]
    towers: Towers
    towers_source: str
    folds: tuple[int, ...]
    seeds: tuple[int, ...]
    base: ModelConfig
    training: TrainConfig
    protocol: Protocol
    runs: Path
    regions: Mapping[str, RegionSource]
    limit: int | None = None
    data: str = ""
    rows: tuple[int, ...] | None = None
    given: Mapping[str, GivenModel] = field(default_factory=dict)

    @cached_property
    def fingerprint(self) -> str:
        """Of the towers and the data."""
        return f"{self.towers.fingerprint()} {self.data}"


@dataclass(frozen=True)
class Outcome:
    """A row with what its runs found.

    Attributes:
        row: the row.
        variant: :attr:`ModelConfig.variant` and the navigation layers that were run.
        results: one dictionary per fold and seed, as in ``result.json``; empty when the row could not be run.
        skipped: why it could not be run.
    """

    row: Row
    variant: str
    results: tuple[dict[str, Any], ...]
    skipped: str = ""


def run_table(table: Table, run: TableRun) -> list[Outcome]:
    """Train what is missing, evaluate what is missing, and collect the table.

    Raises:
        DataError: there is no such row.
        DataError, TowersError, CheckpointError, TrainingError: from the parts.
    """
    wanted = run.rows or range(1, len(table.rows) + 1)
    unknown = [at for at in wanted if not 1 <= at <= len(table.rows)]
    if unknown:
        raise DataError(f"Table {table.number} has no row {unknown[0]}; its rows are 1 to {len(table.rows)}.")
    outcomes = []
    for row in (table.rows[at - 1] for at in wanted):
        config = row.config(run.towers.layers, run.base)
        variant = f"{config.variant} {{{','.join(map(str, config.navigation_layers))}}}"
        if row.given:
            variant = run.given[row.given].predictor.name if row.given in run.given else "no model"
        results = []
        for fold in run.folds:
            for seed in run.seeds:
                result = run_one(row, config, fold, seed, run)
                if result is not None:
                    results.append(result)
        missing = f"a model: give --{row.given}-model" if row.given else "regions: give --detector or --regions"
        skipped = "" if results else f"needs {missing}"
        outcomes.append(Outcome(row, variant, tuple(results), skipped))
    return outcomes


def run_one(row: Row, config: ModelConfig, fold: int, seed: int, run: TableRun) -> dict[str, Any] | None:
    """One row, fold and seed; None when its regions or its model are not given."""
    given = run.given.get(row.given)
    if row.given and given is None:
        return None
    data = run.open_fold(fold)
    training = replace(run.training, seed=seed, **row.training)  # type: ignore[arg-type]
    folder = run.runs / folder_name(config, training, run.fingerprint) / f"fold{fold}-seed{seed}"
    if given is not None:  # nothing of it hangs on a seed
        folder = run.runs / f"{row.given}-{given.digest}-{hashed(run.data)}" / f"fold{fold}"
    regions = run.regions.get("regions" if row.regions == "boxes" else row.regions)
    if row.regions != "none" and regions is None:
        return None
    how = "" if regions is None else f"-{row.regions}-{regions.name.replace(' ', '-')}"
    limit = "" if run.limit is None else f"-limit{run.limit}"
    written = folder / f"result{how}-{run.protocol.name.replace(', ', '-').replace(' ', '-')}{limit}.json"
    if is_file(written):
        found: dict[str, Any] = read_json(written)
        return found | {"seed": seed}
    predictor = None
    if given is not None:
        predictor = given.predictor
    elif row.regions != "boxes":
        checkpoint = folder / "last.safetensors"
        _log.info("training %s, fold %d, seed %d", config.variant, fold, seed)
        torch.manual_seed(seed)
        model = ClsClip(run.towers, config)
        train(model, data, training, folder, towers=towers_from(folder, run.towers_source), resume=True)
        predictor = open_predictor(checkpoint, towers=run.towers)
    report = evaluate(data, Method(predictor, regions, PAPERS_ZOOM), run.protocol, limit=run.limit)
    folder.mkdir(parents=True, exist_ok=True)
    result: dict[str, Any] = {"fold": fold, "seed": seed} | report.to_json()
    write_json(written, result)
    return result


def towers_from(folder: Path, source: str) -> str:
    """How a checkpoint in ``folder`` names its towers: a relative path where they are a folder."""
    return os.path.relpath(source, folder) if is_dir(source) else source


def folder_name(config: ModelConfig, training: TrainConfig, fingerprint: str) -> str:
    """The same for the same model, training (but for its seed), towers and data (their fingerprint), in any table."""
    settings = asdict(config) | asdict(replace(training, seed=0)) | {"fingerprint": fingerprint}
    digest = hashed(json.dumps(settings, sort_keys=True, default=str))
    layers = "-".join(map(str, config.navigation_layers)) or "none"
    return f"{config.variant.replace('+', '_')}-nav{layers}-{digest}"


def hashed(text: str) -> str:
    """Short digest of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def mean_and_spread(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation (0 for one value); NaN values are left out."""
    kept = [value for value in values if value == value]
    if not kept:
        return float("nan"), float("nan")
    return statistics.fmean(kept), statistics.stdev(kept) if len(kept) > 1 else 0.0
