"""The one loop of a run: leases out, results in, committed as they come."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from sdbatch.store.directory import now
from sdbatch.types import Failure, Lease, LeaseResult

WORKER_DEATHS = 2
"""A row that took so many workers with it, each time alone, is not given out again: it is quarantined."""
QUARANTINED, WORKER_DIED = "Quarantined", "WorkerDied"
"""Error classes of rows that killed their workers, and of rows that were in hand when one died."""


@dataclass(frozen=True, slots=True)
class WorkerDied:
    """A worker ended under a lease: a fault of the machinery, not recorded against the rows at once."""

    lease: Lease
    worker: str
    message: str


class Pool(Protocol):
    """Workers that take leases."""

    def room(self) -> bool:
        """Whether another lease can be given out now."""

    def submit(self, lease: Lease) -> None:
        """Give a lease out."""

    def busy(self) -> bool:
        """Whether a lease is out."""

    def next(self) -> Sequence[LeaseResult | WorkerDied]:
        """Wait for a result; it, and whatever else has come in. Empty when there is none yet."""

    def stop(self) -> None:
        """Ask the workers to end their leases after the batch in hand."""

    def close(self) -> None:
        """End the workers."""


@dataclass
class Outcome:
    """What a run came to: rows made, failed, dropped by a guard, and left out because it was ended early.

    `stopped` is whether it was asked to stop; too many failures end it too.
    """

    made: int = 0
    failed: int = 0
    dropped: int = 0
    left: int = 0
    deaths: int = 0
    stopped: bool = False


def run(
    leases: Iterator[Lease],
    pool: Pool,
    commit: Callable[[Sequence[LeaseResult]], None],
    *,
    stopping: Callable[[], bool] = lambda: False,
    too_many: Callable[[int], bool] = lambda failed: False,
    late: Callable[[], bool] = lambda: False,
    on_death: Callable[[WorkerDied], None] = lambda death: None,
) -> Outcome:
    """Give leases to the pool until all are done or it is told to stop.

    Args:
        commit: writes results down, all that came in at a time; what it raises ends the run.
        stopping: asked often; True stops giving out leases and lets those in hand come to an end.
        too_many: whether so many failed rows end the run.
        late: whether the time is up; the batches in hand are finished then.
        on_death: told of each worker that dies.
    """
    outcome = Outcome()
    again: list[Lease] = []
    told = False
    try:
        while True:
            outcome.stopped = outcome.stopped or stopping()
            if not told and (outcome.stopped or too_many(outcome.failed) or late()):
                pool.stop()
                told = True
            while not told and pool.room():
                lease = again.pop() if again else next(leases, None)
                if lease is None:
                    break
                pool.submit(lease)
            if not pool.busy():
                break
            came = pool.next()
            if results := [one for one in came if isinstance(one, LeaseResult)]:
                commit(results)
            for result in results:
                outcome.made += len(result.records)
                outcome.failed += result.failed
                outcome.dropped += result.dropped
                outcome.left += len(result.left)
            for death in (one for one in came if isinstance(one, WorkerDied)):
                outcome.deaths += 1
                on_death(death)
                _give_again(death, again, outcome, commit)
    finally:
        pool.close()
    outcome.left += sum(len(lease.rows) for lease in again)
    return outcome


def _give_again(
    death: WorkerDied, again: list[Lease], outcome: Outcome, commit: Callable[[Sequence[LeaseResult]], None]
) -> None:
    """Give a dead worker's lease out again; rows that killed two workers, each alone, are quarantined."""
    lease = death.lease
    if lease.attempt < WORKER_DEATHS:
        again.append(replace(lease, attempt=lease.attempt + 1))
    elif len(ids := list(dict.fromkeys(row.id for row in lease.rows))) > 1:
        # One of them is to blame, and the others must not fall with it; rows alike in id stay together.
        first = set(ids[: len(ids) // 2])
        halves = [tuple(row for row in lease.rows if (row.id in first) == half) for half in (True, False)]
        again.extend(replace(lease, rows=rows, attempt=1) for rows in halves)
    else:
        lost = tuple(
            Failure(row.id, row.row, lease.attempt, QUARANTINED, death.message[:2000], now(), death.worker)
            for row in lease.rows
        )
        commit([LeaseResult(lease, failures=lost)])
        outcome.failed += len(lost)
