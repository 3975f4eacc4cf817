"""How long batches take, as measured, and so how many of them a lease holds."""

from __future__ import annotations

from sdbatch.plan import LEASE_BATCHES
from sdbatch.types import LeaseResult

LEASE_SECONDS = 30.0
"""What a lease takes at most: so much is lost where a worker dies, and so often is something committed."""
LEAST_SECONDS = 0.5
"""What a lease takes at least, where it can: ending and committing one takes about a hundredth of a second."""


class Pace:
    """Learns from results. Which rows stand together in a lease changes no picture."""

    def __init__(self) -> None:
        self._seconds: dict[int, float] = {}
        self._batches: dict[int, int] = {}

    def heard(self, result: LeaseResult) -> None:
        """Count a lease; one that did not go well says little of how long they take."""
        lease = result.lease
        if result.failures or result.left or not lease.batches:
            return
        pictures = {record["id"]: float(record["seconds"]) for record in result.records}
        self._seconds[lease.cell] = self._seconds.get(lease.cell, 0.0) + sum(pictures.values())
        self._batches[lease.cell] = self._batches.get(lease.cell, 0) + lease.batches

    def batches(self, cell: int) -> tuple[int, int]:
        """The least and the most batches that a lease of a cell holds."""
        seconds = self._seconds.get(cell, 0.0)
        if not seconds > 0:
            return 1, LEASE_BATCHES
        rate = self._batches[cell] / seconds
        return max(1, round(LEAST_SECONDS * rate)), max(1, round(LEASE_SECONDS * rate))
