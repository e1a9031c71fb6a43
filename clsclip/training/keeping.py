"""What a run writes so that it cannot be lost: its state, its newest and its best weights, and what they are worth."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import numpy as np

from clsclip.checkpoint import read_header, save_checkpoint
from clsclip.data.base import Fold
from clsclip.errors import CheckpointError, ClsclipError, DataError, TrainingError
from clsclip.run_files import BEST_FILE, CHECKPOINT_FILE, STATE_FILE
from clsclip.tensors import read_tensors
from clsclip.towers import Identity
from clsclip.training.plan import Plan
from clsclip.training.presence import fit_presence
from clsclip.training.state import Restored, save_state
from clsclip.training.stepper import Stepper
from clsclip_runtime.cli.progress import Progress
from clsclip_runtime.cli.stopping import deferred
from clsclip_runtime.errors import ClsclipRuntimeError
from clsclip_runtime.paths import is_file
from clsclip_runtime.tensor_files import TensorFile, TensorFileError

_log = logging.getLogger(__name__)


class Keeper:
    """Writes the files of a run.

    Attributes:
        saved: the step of the newest state on disk, or that the run started from.
        presence: fit of the presence head; None without one.
        validation: figures of the newest validation; None without one.

    Args:
        stepper: whose weights are written.
        out: folder of the run.
        plan: of the run.
        settings: that the state is of; see :func:`clsclip.training.config.settings_of`.
        provenance: of the run, for checkpoints; what is added to it later is written too.
        towers: where the checkpoint says that its towers are.
        identity: of the towers.
    """

    def __init__(
        self,
        stepper: Stepper,
        out: Path,
        plan: Plan,
        settings: dict[str, Any],
        provenance: dict[str, Any],
        towers: str,
        identity: Identity,
    ) -> None:
        self.stepper, self.out, self.plan, self.settings = stepper, out, plan, settings
        self.provenance, self.towers, self.identity = provenance, towers, identity
        self.model, self.config = stepper.model, stepper.config
        self.saved = 0
        self.presence: dict[str, float] | None = None
        self.validation: dict[str, Any] | None = None
        self._saved_at = time.monotonic()

    def due(self, step: int) -> bool:
        """Whether it is time to write after ``step`` steps."""
        minutes = (time.monotonic() - self._saved_at) / 60
        return step % self.config.save_every == 0 or minutes >= self.config.save_minutes

    def save(self, step: int) -> None:
        """Write state and checkpoint after ``step`` steps. OutputError if they cannot be written."""
        with deferred():
            # The state first: a run that is killed in between goes on from it and writes the checkpoint again.
            save_state(self.stepper, self.out / STATE_FILE, self.settings, step)
            self.save_checkpoint(step)
        self.saved, self._saved_at = step, time.monotonic()

    def save_checkpoint(self, step: int) -> None:
        """Write the newest weights alone."""
        self._write(CHECKPOINT_FILE, step)

    def save_best(self, step: int) -> None:
        """Write the weights as the best so far."""
        self._write(BEST_FILE, step)

    def best_file(self) -> Path | None:
        """Where the best weights are; None if there are none."""
        path = self.out / BEST_FILE
        return path if is_file(path) else None

    def _write(self, name: str, step: int) -> None:
        provenance = self.provenance | {"steps": step, "epoch": round(step / self.plan.steps_per_epoch, 4)}
        if self.presence is not None:
            provenance |= {"presence_threshold": self.presence["threshold"], "presence_fit": self.presence}
        if self.validation is not None:
            provenance["validation"] = self.validation
        save_checkpoint(self.model, self.out / name, self.towers, provenance, identity=self.identity)

    def rescue(self, error: BaseException, total: int) -> None:
        """Write what is done, since the run ends before its end; no error of its own hides ``error``."""
        step = self.stepper.done
        if isinstance(error, TrainingError) or not self.stepper.whole:
            return
        try:
            if step > self.saved and all(bool(one.isfinite().all()) for one in self.stepper.weights):
                self.save(step)
        except (ClsclipError, ClsclipRuntimeError, OSError) as other:
            _log.warning("step %d could not be written: %s", step, other)
        if self.saved:
            _log.info("step %d of %d is written. Go on with the same command and --resume", self.saved, total)
        else:
            _log.info("no step was done yet, so there is nothing to go on from")

    def lengthen(self, restored: Restored, total: int) -> int | None:
        """Note where a run of another length begins; returns that of before, None where it is the same."""
        lengths = list(restored.lengths)
        before = int(lengths[-1][1]) if lengths else None
        if before is None or before == total:
            self.settings["lengths"] = lengths or [[0, total]]
        else:
            self.settings["lengths"] = [*lengths, [restored.step, total]]
            self.provenance["lengths"] = self.settings["lengths"]
        return None if before == total else before

    def fit_presence(self, fold: Fold) -> None:
        """Fit the presence head, or take it from the run's checkpoint. It depends on the frozen towers alone.

        So it is done before the first step, and every checkpoint has it. Where it cannot be fitted the log says why.
        """
        count = self.config.presence_pictures
        images = sorted({index for index, _ in fold.train_pairs})
        if not count or not images:
            return
        wanted = min(count, len(images))
        self.presence = self._restored_presence(wanted)
        if self.presence is not None:
            return
        chosen = np.sort(np.random.default_rng(self.config.seed).permutation(images)[:wanted]).tolist()
        with Progress("presence head, pictures", wanted) as progress:
            try:
                found = fit_presence(
                    self.model,
                    fold.train,
                    fold.seen,
                    chosen,
                    template=self.config.template,
                    seed=self.config.seed,
                    progress=progress.update,
                    strict=self.config.strict,
                )
            except DataError as error:
                if self.config.strict:
                    raise
                _log.warning("%s Words are never called absent by this model.", error)
                return
        self.presence = found | {"pictures": wanted}

    def _restored_presence(self, wanted: int) -> dict[str, float] | None:
        """The fit of a run that is resumed; None where it was of other pictures, or there is none."""
        path = self.out / CHECKPOINT_FILE
        if not self.saved or not is_file(path):
            return None
        try:
            header = read_header(path)
            fit = header["provenance"].get("presence_fit")
            if (
                header["fingerprint"] != self.identity.fingerprint
                or not isinstance(fit, dict)
                or fit.get("pictures") != wanted
            ):
                return None
            with TensorFile(path) as opened:
                tensors = read_tensors(opened)
            state = {name: tensors[f"presence.{name}"] for name in self.model.presence.state_dict()}
            self.model.presence.load_state_dict(state)
            return {name: float(value) for name, value in fit.items()}
        except (CheckpointError, TensorFileError, OSError, KeyError, ValueError, RuntimeError):
            return None
