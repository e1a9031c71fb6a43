"""Rows from actors of a Ray cluster, by Ray Data."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import ray
import ray.data

from clsclip_runtime import errors
from clsclip_runtime.errors import BackendError, ClsclipRuntimeError, OptionError, one_line
from clsclip_serve.batch.job import Job
from clsclip_serve.batch.segment import SegmentNamed
from clsclip_serve.batch.sources import Chunk, Reader

LOCAL = "local"
SPARE_CPUS = 1
"""For what Ray Data itself runs beside the actors; with none left, it waits for ever."""

_MOST_BLOCKS = 20_000
_WAITING = 1000
"""Rows that wait for the writer."""


class RayPool:
    """As ``ProcessPool``, on a Ray cluster.

    Attributes:
        notes: for the user.
    """

    def __init__(
        self,
        job: Job,
        reader: Reader,
        workers: int,
        address: str,
        *,
        cpus: float = 1,
        gpus: float = 0,
        local_cpus: int | None = None,
        seconds: float = 600.0,
    ) -> None:
        """Connect to a cluster, or start one on this machine.

        Args:
            job, reader: what every actor does.
            workers: actors.
            address: of a cluster, ``auto``, or ``local``.
            cpus, gpus: of each actor, as Ray counts them.
            local_cpus: that a local cluster says it has; None is one for each actor and ``SPARE_CPUS`` more.
            seconds: without any row, after which it ends.

        Raises:
            BackendError: there is no such cluster.
            OptionError: it has not enough CPUs or GPUs for the actors.
        """
        self._job, self._reader, self._count, self._seconds = job, reader, workers, seconds
        self._cpus, self._gpus = cpus, gpus
        self.notes: list[str] = []
        for name in ("ray", "ray.data"):  # what it has to say is told by this command
            logging.getLogger(name).setLevel(logging.ERROR)
        needed = workers * cpus + SPARE_CPUS
        try:
            if address == LOCAL:
                count = local_cpus or -(-needed // 1)
                ray.init(num_cpus=int(count), include_dashboard=False, log_to_driver=False, logging_level="error")
            else:
                ray.init(address=address, log_to_driver=False, logging_level="error")
        except Exception as error:
            raise BackendError(
                f"there is no Ray cluster at {address}: {one_line(str(error).splitlines()[0] if str(error) else error)}"
            ) from error
        has = ray.cluster_resources()
        if has.get("CPU", 0) < needed or has.get("GPU", 0) < workers * gpus:
            ray.shutdown()
            raise OptionError(
                f"{workers} actors of {cpus:g} CPUs and {gpus:g} GPUs, and {SPARE_CPUS} CPU for Ray itself, need "
                f"{needed:g} CPUs and {workers * gpus:g} GPUs, and the cluster has {has.get('CPU', 0):g} and "
                f"{has.get('GPU', 0):g}: it would wait for ever. Give fewer --workers, or more CPUs (--ray-cpus)"
            )
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False  # the command has its own
        context.print_on_execution_start = False

    def rows(self, chunks: Sequence[Chunk], stop: Any) -> Iterator[dict[str, Any] | None]:
        """See ``ProcessPool.rows``.

        Raises:
            ClsclipRuntimeError: an actor cannot load the model, or none has given a row for long.
        """
        found: queue.Queue[Any] = queue.Queue(_WAITING)
        ended = threading.Event()
        threading.Thread(target=self._run, args=(chunks, found, ended), name="clsclip-ray", daemon=True).start()
        quiet = 0.0
        try:
            while not stop.is_set():
                try:
                    row = found.get(timeout=0.5)
                except queue.Empty:
                    quiet += 0.5
                    if quiet > self._seconds:
                        raise BackendError(
                            f"no actor gave a row in {self._seconds:.0f} seconds. Look at the cluster: ray status"
                        ) from None
                    yield None
                    continue
                if row is None:
                    return
                if isinstance(row, BaseException):
                    raise row
                quiet = 0.0
                yield row
            while True:  # what has come is kept
                row = found.get_nowait()
                if isinstance(row, dict):
                    yield row
        except queue.Empty:
            return
        finally:
            ended.set()
            self.close()

    def close(self) -> None:
        """Leave the cluster, or end it if it was started here."""
        ray.shutdown()

    def _run(self, chunks: Sequence[Chunk], found: queue.Queue[Any], ended: threading.Event) -> None:
        """In a thread of its own: what Ray gives is waited for nowhere else."""

        def put(value: Any) -> None:
            while not ended.is_set():
                try:
                    return found.put(value, timeout=0.5)
                except queue.Full:
                    continue

        try:
            for batch in self._masks(chunks).iter_batches(batch_size=None, batch_format="pyarrow"):
                for row in batch.to_pylist():
                    put(row)
                if ended.is_set():
                    return
            put(None)
        except BaseException as error:  # whatever it is: somebody waits
            put(_known(error))

    def _masks(self, chunks: Sequence[Chunk]) -> Any:
        blocks = [_block(chunk) for chunk in chunks]
        each = -(-len(blocks) // _MOST_BLOCKS)
        tables = [pa.concat_tables(blocks[at : at + each]) for at in range(0, len(blocks), each)]
        return ray.data.from_arrow(tables).map_batches(
            SegmentNamed,
            fn_constructor_args=(self._job.to_json(), self._reader.root, self._reader.columns),
            batch_size=None,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(size=min(self._count, len(tables))),
            num_cpus=self._cpus,
            num_gpus=self._gpus or None,
        )


def _block(chunk: Chunk) -> Any:
    count = len(chunk.names)
    columns = {"path": chunk.names, "file": [chunk.file] * count, "group": [chunk.group] * count}
    return pa.table(columns | {"row": chunk.rows or [0] * count})


def _known(error: BaseException) -> ClsclipRuntimeError:
    """The runtime's own error in one of Ray's, or one that says what Ray says."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ClsclipRuntimeError):
            return cause
        cause = getattr(cause, "cause", None) or cause.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    for line in reversed(lines):  # an actor that cannot begin is told by its traceback alone
        name, _, reason = line.partition(": ")
        kind = getattr(errors, name.rpartition(".")[2], None)
        if reason and isinstance(kind, type) and issubclass(kind, ClsclipRuntimeError):
            return kind(reason)
    return BackendError(f"Ray failed: {one_line(lines[-1] if lines else type(error).__name__)}")
