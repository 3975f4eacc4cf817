"""How long batches take, as measured, and so how many of them a lease holds."""

from __future__ import annotations

import math
from collections.abc import Callable

from sdbatch.plan import LEASE_BATCHES
from sdbatch.types import Lease, LeaseResult

LEASE_SECONDS = 30.0
"""What a lease takes at most: so much is lost where a worker dies, and so often is something committed."""
LEAST_SECONDS = 0.5
"""What a lease takes at least, where it can: ending and committing one takes about a hundredth of a second."""


class Pace:
    """Learns from results. Which rows stand together in a lease changes no picture.

    Args:
        workers: how many share what is given out.
        left: seconds until the run is to end.
    """

    def __init__(self, workers: int = 1, left: Callable[[], float] = lambda: math.inf) -> None:
        self._workers, self._left = workers, left
        self._seconds: dict[int, float] = {}
        self._batches: dict[int, int] = {}
        self._out: dict[int, Lease] = {}

    def given(self, lease: Lease) -> Lease:
        """Count a lease as given out."""
        self._out[lease.number] = lease
        return lease

    def heard(self, result: LeaseResult) -> None:
        """Count a lease; one that did not go well says little of how long they take."""
        lease = result.lease
        self._out.pop(lease.number, None)
        if result.failures or result.left or not (result.records and lease.batches):
            return
        pictures = {record["id"]: float(record["seconds"]) for record in result.records}
        self._seconds[lease.cell] = self._seconds.get(lease.cell, 0.0) + sum(pictures.values())
        self._batches[lease.cell] = self._batches.get(lease.cell, 0) + lease.batches

    def batches(self, cell: int) -> tuple[int, int]:
        """The least and the most batches that a lease of a cell holds; 0 where it could not be finished in time."""
        left, rate = self._left(), self._rate(cell)
        if rate is None:
            return (1, LEASE_BATCHES) if left > 0 else (0, 0)
        most = max(1, round(LEASE_SECONDS * rate))
        if math.isfinite(left):
            most = min(most, math.floor(max(0.0, left - self._ahead()) * rate))
        return min(most, max(1, round(LEAST_SECONDS * rate))), most

    def _rate(self, cell: int) -> float | None:
        """Batches a second of one worker."""
        seconds = self._seconds.get(cell, 0.0)
        return self._batches[cell] / seconds if seconds > 0 else None

    def _ahead(self) -> float:
        """Seconds until a worker begins what it is given now, at most: all that is out, shared by all."""
        if len(self._out) < self._workers:
            return 0.0
        rates = {cell: self._rate(cell) for cell in {lease.cell for lease in self._out.values()}}
        return sum(one.batches / rate for one in self._out.values() if (rate := rates[one.cell])) / self._workers
