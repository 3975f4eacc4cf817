"""How many batches a lease holds, by how long batches took."""

from __future__ import annotations

import pytest

from sdbatch.plan import LEASE_BATCHES
from sdbatch.types import Failure, Lease, LeaseResult, Row
from sdbatch.workers.pace import LEASE_SECONDS, LEAST_SECONDS, Pace


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


def test_towards_the_end_leases_hold_what_can_still_be_finished() -> None:
    left = [100.0]
    pace = Pace(1, lambda: left[0])
    assert pace.batches(0) == (1, LEASE_BATCHES)
    pace.heard(result(4, 1.0))
    sizes = {}
    for left[0] in (100.0, 12.7, 1.0, 0.9, 0.0, -5.0):
        sizes[left[0]] = pace.batches(0)[1]
    assert sizes == {100.0: 30, 12.7: 12, 1.0: 1, 0.9: 0, 0.0: 0, -5.0: 0}
    assert pace.batches(1) == (0, 0), "of rows never measured there is no lease once the time is up"


def test_what_workers_have_before_them_is_counted() -> None:
    pace = Pace(2, lambda: 20.0)
    pace.heard(result(4, 1.0))
    given = [pace.given(Lease(number, (), cell=0, batches=10)) for number in (1, 2)]
    assert pace.batches(0)[1] == 10, "each of the two has ten seconds to go"
    pace.heard(LeaseResult(given[0]))
    assert pace.batches(0)[1] == 20, "one of them is free"
