"""One worker in this process."""

from __future__ import annotations

from collections.abc import Callable

from sdbatch.types import Lease, LeaseResult
from sdbatch.workers.task import Task
from sdbatch.workers.worker import Worker


class LocalPool:
    """Runs a lease when its result is asked for.

    Args:
        stop: asked between batches; True ends the lease early.
        on_batch: told how many rows each batch settled.
    """

    def __init__(self, task: Task, stop: Callable[[], bool], on_batch: Callable[[int], None]) -> None:
        self._asked = False
        self._worker = Worker(task, lambda: self._asked or stop(), on_batch)
        self._lease: Lease | None = None

    def room(self) -> bool:
        """Whether no lease waits."""
        return self._lease is None

    def submit(self, lease: Lease) -> None:
        """Keep a lease until `next`."""
        self._lease = lease

    def busy(self) -> bool:
        """Whether a lease waits."""
        return self._lease is not None

    def next(self) -> list[LeaseResult]:
        """Run the lease."""
        lease, self._lease = self._lease, None
        return [self._worker.run(lease)] if lease else []

    def stop(self) -> None:
        """End after the batch in hand."""
        self._asked = True

    def close(self) -> None:
        """Nothing to end."""
