"""A worker: a lease in, records out. It knows nothing of Ray, and pixels never leave it."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace
from typing import Any

from sdbatch import plan
from sdbatch.errors import FlaggedError, ModelError, PictureError, ReviewError, RowError, StoreError
from sdbatch.render import memory
from sdbatch.render.renderer import Renderer
from sdbatch.render.safety import Checkers
from sdbatch.sources import remote
from sdbatch.sources.names import Sources
from sdbatch.store import base as stores
from sdbatch.store.attempts import InHand
from sdbatch.store.directory import now
from sdbatch.types import Failure, Lease, LeaseResult, Record, Row
from sdbatch.workers.guarding import Guarding
from sdbatch.workers.task import Task
from sdbatch.workers.writing import Made, Writer

SWITCH_SECONDS = 1e-4
"""How long a thread that writes pictures may keep Python from the one that renders. By Python's own measure, 0.005, a
network of many small steps waits so long at each of them: demo rows took 15 % longer."""
TRIM_BATCHES = 8
"""Between two times that free memory is handed back, at least: what comes next asks for it again, page by page."""
ATTEMPTS = 2
"""How often a row that fails by its own fault is tried in one run."""


class Worker:
    """Renders leases and writes their pictures.

    Args:
        stop: asked between batches; True ends the lease early, with what is done.
        on_batch: told how many rows each batch settled.
    """

    def __init__(
        self, task: Task, stop: Callable[[], bool] = lambda: False, on_batch: Callable[[int], None] = lambda rows: None
    ) -> None:
        memory.keep()
        self._task, self._stop, self._on_batch = task, stop, on_batch
        home, within = (None if path is None else remote.located(path) for path in (task.home, task.within))
        parents = remote.located(task.parents or task.directory)
        directory = remote.located(task.directory)
        self._sources = Sources(remote.located(task.base), task.pins, home, within, parents, task.hidden)
        self._renderer = Renderer(task.render, self._sources)
        self._checkers = Checkers(task.render)
        self._writer = Writer(task, self._sources)
        self._in_hand = InHand(stores.at(directory), self._doing)
        self._guarding: Guarding | None = None
        if task.guard is not None:
            self._guarding = Guarding(task.guard, self._sources, self._renderer, self._batch)
        self._batches = 0  # since memory was handed back
        # Two threads: one picture is flushed to the disk while the next is compressed.
        self._writers = ThreadPoolExecutor(2, thread_name_prefix="write")

    def run(self, lease: Lease) -> LeaseResult:
        """Make the pictures of a lease, batch after batch; a failing row fails alone.

        Raises:
            StoreError: the directory cannot be written.
            ModelError: a model cannot be loaded.
        """
        before = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH_SECONDS)
        try:
            return self._run(lease)
        finally:
            sys.setswitchinterval(before)

    def _run(self, lease: Lease) -> LeaseResult:
        groups = _alike(lease.rows)
        size = self._size(lease.rows[0])
        written: list[tuple[Made, Future[list[Record]]]] = []
        behind: list[Future[list[Record]]] = []
        failures: list[Failure] = []
        left: list[Row] = []
        for start in range(0, len(groups), size):
            batch = groups[start : start + size]
            if self._stop():
                left.extend(row for group in groups[start:] for row in group)
                break
            made, failed = self._batch(batch, size)
            self._batches += 1
            made, dropped = self._guarded(made, size)
            made, flagged = self._screened(made)
            # Pictures wait in memory to be written: those of two batches, and no more.
            wait(behind)
            behind = [self._writers.submit(self._writer.write, one) for one in made]
            written.extend(zip(made, behind, strict=True))
            failures.extend([*failed, *dropped, *flagged])
            self._on_batch(sum(len(group) for group in batch))
        self._in_hand.put_down()
        records: list[Record] = []
        for one, future in written:
            try:
                records += future.result()
            except RowError as error:  # a picture that its format cannot hold
                failures += [_failure(row, 1, error) for row in (one.row, *one.twins)]
        if self._batches >= TRIM_BATCHES:
            memory.trim()
            self._batches = 0
        failures = self._told(lease, failures)
        return LeaseResult(lease, tuple(records), tuple(failures), tuple(left), self.about())

    def _told(self, lease: Lease, failures: list[Failure]) -> list[Failure]:
        """Failures whose messages name inputs as rows do."""
        if self._task.hidden is None:
            return failures
        params = {row.row: row.params for row in lease.rows}
        told = self._sources.inputs.told
        return [replace(one, message=told(params.get(one.row, {}), one.message)) for one in failures]

    def _doing(self, row: Row) -> str:
        rss = self.about()["rss"] / 2**20
        return f"{self._writer.device.name}, {row.params['model']}, batches of {self._size(row)}, {rss:,.0f} MiB"

    def about(self) -> dict[str, Any]:
        """What a progress line shows of this worker."""
        import os

        import psutil

        used = psutil.Process().memory_info().rss
        return {"host": socket.gethostname(), "pid": os.getpid(), "device": self._writer.device.name, "rss": used}

    def _size(self, row: Row) -> int:
        params = row.params
        task = self._task
        return plan.batch_size(task.render, task.memory, params["width"], params["height"])

    def _batch(self, groups: Sequence[tuple[Row, ...]], size: int) -> tuple[list[Made], list[Failure]]:
        """Render a batch. Rows that fail are tried by themselves, at the same shape, and once more where that fails."""
        self._in_hand.take(groups)
        try:
            made, lost = self._render(groups, size)
        except (ModelError, StoreError):
            raise
        except Exception as error:  # whatever a model raises is one row's fault until shown otherwise
            made, lost = [], [(group, error if len(groups) == 1 else None) for group in groups]
        failures: list[Failure] = []
        for group, first in lost:
            self._in_hand.take([group])
            one, failed = self._alone(group, size, first)
            made, failures = [*made, *one], [*failures, *failed]
        return made, failures

    def _alone(self, group: tuple[Row, ...], size: int, error: Exception | None) -> tuple[list[Made], list[Failure]]:
        """Make one picture in at most two attempts, of which `error` is the first where it is given."""
        failures: list[Failure] = []
        last: Exception | None = None
        for attempt in range(1, ATTEMPTS + 1):
            if error is None:
                try:
                    made, lost = self._render([group], size, precise=isinstance(last, PictureError))
                except (ModelError, StoreError):
                    raise
                except Exception as raised:  # alone, it is this row's
                    error = raised
                else:
                    if not lost:
                        return made, failures
                    ((_, error),) = lost
            assert error is not None
            failures += [_failure(row, attempt, error) for row in group]
            if isinstance(error, ReviewError):
                break  # the same picture would be looked at in the same way
            last, error = error, None
        return [], failures

    def _render(
        self, groups: Sequence[tuple[Row, ...]], size: int, *, precise: bool = False
    ) -> tuple[list[Made], list[tuple[tuple[Row, ...], Exception | None]]]:
        """What came of a batch: pictures, and rows with the errors that are theirs."""
        rows = [group[0] for group in groups]
        model = self._sources.models.resolve(rows[0].params["model"], rows[0].params["revision"])
        began = time.perf_counter()
        found = self._renderer.render(rows, size, precise=precise)
        seconds = (time.perf_counter() - began) / len(rows)
        made: list[Made] = []
        lost: list[tuple[tuple[Row, ...], Exception | None]] = []
        for group, one in zip(groups, found, strict=True):
            if isinstance(one, RowError):
                lost.append((group, one))
            else:
                made.append(Made(group[0], group[1:], one, model, one.size or size, seconds))
        return made, lost

    def _guarded(self, made: list[Made], size: int) -> tuple[list[Made], list[Failure]]:
        """Let the recipe's guard judge pictures, where the job has one."""
        if self._guarding is None or not made:
            return made, []
        kept, dropped, failures = self._guarding.judged(made, size)
        return kept, [*failures, *(_failure(row, attempt, error) for row, attempt, error in dropped)]

    def _screened(self, made: list[Made]) -> tuple[list[Made], list[Failure]]:
        """Ask the models' safety checkers, where the job wants it; those flagged are kept or fail."""
        rule = self._task.output.safety
        if rule == "off":
            return made, []
        kept: list[Made] = []
        failures: list[Failure] = []
        for one in made:
            verdict = self._checkers.verdict(one.model.path, one.picture.pixels)
            if verdict == "flagged" and rule == "drop":
                error = FlaggedError("the model's safety checker flagged the picture (safety: drop)")
                failures += [_failure(row, 1, error) for row in (one.row, *one.twins)]
            else:
                kept.append(replace(one, safety=verdict))
        return kept, failures


def _alike(rows: Sequence[Row]) -> list[tuple[Row, ...]]:
    """Rows grouped by id, in order."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.id, []).append(row)
    return [tuple(group) for group in groups.values()]


def _failure(row: Row, attempt: int, error: Exception) -> Failure:
    message = " ".join(str(error).split())[:2000] or type(error).__name__
    return Failure(row.id, row.row, attempt, type(error).__name__, message, now(), socket.gethostname())
