"""How many batches a lease holds, by how long batches took."""

from __future__ import annotations

import pytest

from sdbatch.plan import LEASE_BATCHES
from sdbatch.run.pace import LEASE_SECONDS, LEAST_SECONDS, Pace
from sdbatch.types import Failure, Lease, LeaseResult, Row


def result(
    batches: int, seconds: float, *, size: int = 4, cell: int = 0, twins: int = 1, failed: int = 0
) -> LeaseResult:
    """Of so many full batches, each of which took so long."""
    rows = tuple(
        Row(f"id{at}", f"row{at}.{twin}", "main", "", {}, {}) for at in range(batches * size) for twin in range(twins)
    )
    lost = tuple(Failure(row.id, row.row, 1, "RowError", "", "", "") for row in rows[:failed])
    made = tuple({"id": row.id, "row": row.row, "seconds": seconds / size} for row in rows[failed:])
    return LeaseResult(Lease(0, rows, cell=cell, batches=batches), made, lost)


def test_before_anything_was_measured_leases_are_small() -> None:
    assert Pace().batches(3) == (1, LEASE_BATCHES)


@pytest.mark.parametrize("twins", [1, 3])
def test_a_lease_takes_half_a_minute_at_most(twins: int) -> None:
    pace = Pace()
    pace.heard(result(4, 0.25, twins=twins))
    assert pace.batches(0) == (LEAST_SECONDS / 0.25, LEASE_SECONDS / 0.25)
    pace.heard(result(12, 0.75, twins=twins))
    assert pace.batches(0)[1] == round(LEASE_SECONDS / (10 / 16)), "the mean of all batches"


def test_a_batch_that_takes_longer_than_that_is_a_lease() -> None:
    pace = Pace()
    pace.heard(result(1, 10 * LEASE_SECONDS))
    assert pace.batches(0) == (1, 1)


def test_kinds_of_rows_are_measured_apart_and_leases_with_failures_not_at_all() -> None:
    pace = Pace()
    pace.heard(result(4, 1.0, cell=1))
    pace.heard(result(4, 50.0, cell=1, failed=3))
    assert pace.batches(1) == (1, 30) and pace.batches(0) == (1, LEASE_BATCHES)


def test_rows_that_took_no_time_say_nothing() -> None:
    pace = Pace()
    pace.heard(result(4, 0.0))
    assert pace.batches(0) == (1, LEASE_BATCHES)
