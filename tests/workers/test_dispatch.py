"""The loop of a run, with workers that only pretend: no Ray, no model."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Iterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdbatch.errors import StoreError
from sdbatch.types import Failure, Lease, LeaseResult, Row
from sdbatch.workers import dispatch
from sdbatch.workers.dispatch import WorkerDied


def row(number: int, line: int = 0) -> Row:
    return Row(f"id{number}", f"row{number}.{line}", "main", f"images/{number}.png", {}, {})


def leases(*sizes: int) -> list[Lease]:
    numbers = iter(range(sum(sizes)))
    return [Lease(at, tuple(row(next(numbers)) for _ in range(size))) for at, size in enumerate(sizes)]


class Pool:
    """Workers that make every row but those that kill them.

    Args:
        poison: ids of rows under which a worker dies, whenever it has one.
        fails: ids of rows that fail.
        deaths: numbers of leases under which a worker dies once.
        slow: how often `next` has nothing yet.
        at_once: how many leases come back at a time.
    """

    def __init__(
        self,
        window: int = 2,
        poison: Collection[str] = (),
        fails: Collection[str] = (),
        deaths: Sequence[int] = (),
        slow: int = 0,
        at_once: int = 1,
    ) -> None:
        self.at_once = at_once
        self.window, self.poison, self.fails, self.deaths, self.slow = window, poison, fails, list(deaths), slow
        self.out: deque[Lease] = deque()
        self.given: list[Lease] = []
        self.stops = self.closes = 0

    def room(self) -> bool:
        return len(self.out) < self.window

    def submit(self, lease: Lease) -> None:
        assert self.room(), "a lease was given out where there was no room"
        assert not self.closes
        self.out.append(lease)
        self.given.append(lease)

    def busy(self) -> bool:
        return bool(self.out)

    def next(self) -> list[LeaseResult | WorkerDied]:
        if self.slow:
            self.slow -= 1
            return []
        return [self._end(self.out.popleft()) for _ in range(min(self.at_once, len(self.out)))]

    def _end(self, lease: Lease) -> LeaseResult | WorkerDied:
        if self.stops:
            return LeaseResult(lease, left=lease.rows)
        if lease.number in self.deaths:
            self.deaths.remove(lease.number)
            return WorkerDied(lease, "worker", "killed")
        if {one.id for one in lease.rows} & set(self.poison):
            return WorkerDied(lease, "worker", "killed")
        made = tuple({"id": one.id, "row": one.row} for one in lease.rows if one.id not in self.fails)
        lost = tuple(
            Failure(one.id, one.row, lease.attempt, "RowError", "", "", "")
            for one in lease.rows
            if one.id in self.fails
        )
        return LeaseResult(lease, made, lost)

    def stop(self) -> None:
        self.stops += 1

    def close(self) -> None:
        self.closes += 1


class Book:
    """What was committed."""

    def __init__(self) -> None:
        self.made: list[str] = []
        self.lost: list[Failure] = []

        self.commits = 0

    def __call__(self, results: Sequence[LeaseResult]) -> None:
        self.commits += 1
        self.made += [record["row"] for result in results for record in result.records]
        self.lost += [failure for result in results for failure in result.failures]


def keys(given: Sequence[Lease]) -> list[str]:
    return [one.row for lease in given for one in lease.rows]


@pytest.mark.parametrize("window", [1, 2, 5, 50])
def test_every_lease_is_given_out_and_committed_once(window: int) -> None:
    pool, book, work = Pool(window, slow=3), Book(), leases(4, 4, 4, 1, 7)
    outcome = dispatch.run(iter(work), pool, book)
    assert Counter(book.made) == Counter(keys(work))
    assert pool.given == work
    assert (outcome.made, outcome.failed, outcome.left, outcome.deaths, outcome.stopped) == (20, 0, 0, 0, False)
    assert (pool.closes, pool.stops) == (1, 0)


def test_what_comes_in_together_is_committed_together() -> None:
    pool, book, work = Pool(8, fails=["id3"], deaths=[1], at_once=4), Book(), leases(2, 2, 2, 2, 2)
    outcome = dispatch.run(iter(work), pool, book)
    assert Counter([*book.made, *(failure.row for failure in book.lost)]) == Counter(keys(work))
    assert (outcome.made, outcome.failed, outcome.deaths, book.commits) == (9, 1, 1, 2)


def test_without_leases_the_pool_is_closed() -> None:
    pool = Pool()
    assert dispatch.run(iter([]), pool, Book()).made == 0
    assert pool.closes == 1


def test_a_lease_is_drawn_only_when_there_is_room() -> None:
    drawn: list[int] = []
    pool = Pool(window=2)

    def draw() -> Iterator[Lease]:
        for lease in leases(1, 1, 1, 1):
            drawn.append(lease.number)
            assert len(drawn) - len(pool.given) <= 1
            yield lease

    dispatch.run(draw(), pool, Book())
    assert drawn == [0, 1, 2, 3]


def test_a_failed_row_is_committed_as_such_and_not_tried_again() -> None:
    book = Book()
    outcome = dispatch.run(iter(leases(3, 3)), Pool(fails=["id1", "id5"]), book)
    assert (outcome.made, outcome.failed) == (4, 2)
    assert [failure.row for failure in book.lost] == ["row1.0", "row5.0"]


def test_the_lease_of_a_dead_worker_is_given_out_again() -> None:
    pool, book, work = Pool(deaths=[1]), Book(), leases(2, 2, 2)
    told: list[WorkerDied] = []
    outcome = dispatch.run(iter(work), pool, book, on_death=told.append)
    assert Counter(book.made) == Counter(keys(work)) and book.lost == []
    assert (outcome.made, outcome.failed, outcome.deaths) == (6, 0, 1)
    assert [death.lease.number for death in told] == [1]
    assert [lease.attempt for lease in pool.given if lease.number == 1] == [1, 2]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=4), st.data())
def test_rows_that_kill_workers_fail_alone(sizes: list[int], data: st.DataObject) -> None:
    work = leases(*sizes)
    rows = keys(work)
    bad = data.draw(st.sets(st.integers(0, len(rows) - 1), max_size=3))
    pool, book = Pool(data.draw(st.integers(1, 3)), poison=[f"id{number}" for number in bad]), Book()
    outcome = dispatch.run(iter(work), pool, book)
    assert {(failure.row, failure.error) for failure in book.lost} == {(f"row{at}.0", "Quarantined") for at in bad}
    assert Counter([*book.made, *(failure.row for failure in book.lost)]) == Counter(rows)
    assert (outcome.made, outcome.failed, outcome.left) == (len(rows) - len(bad), len(bad), 0)


def test_a_row_is_blamed_only_after_two_workers_died_under_it_alone() -> None:
    pool, book = Pool(poison=["id2"]), Book()
    dispatch.run(iter(leases(4)), pool, book)
    assert [len(lease.rows) for lease in pool.given if "row2.0" in keys([lease])] == [4, 4, 2, 2, 1, 1]
    (failure,) = book.lost
    assert (failure.row, failure.error, failure.where, failure.message) == ("row2.0", "Quarantined", "worker", "killed")


def test_rows_alike_that_kill_workers_fail_together() -> None:
    book = Book()
    work = Lease(0, (row(0), row(0, 1), row(0, 2)))
    outcome = dispatch.run(iter([work]), Pool(poison=["id0"]), book)
    assert [failure.row for failure in book.lost] == ["row0.0", "row0.1", "row0.2"]
    assert (outcome.failed, outcome.deaths) == (3, 2)


def test_rows_alike_stay_together_when_a_lease_is_split() -> None:
    pool, book = Pool(poison=["id0"]), Book()
    dispatch.run(iter([Lease(0, (row(0), row(1), row(1, 1), row(1, 2)))]), pool, book)
    assert [failure.row for failure in book.lost] == ["row0.0"]
    assert all(len([one for one in lease.rows if one.id == "id1"]) in (0, 3) for lease in pool.given)


def test_when_stopped_no_lease_is_given_out_and_those_in_hand_come_back() -> None:
    pool, book, work = Pool(window=2), Book(), leases(3, 3, 3, 3, 3)
    outcome = dispatch.run(iter(work), pool, book, stopping=lambda: len(book.made) >= 3)
    assert (outcome.made, outcome.left, outcome.stopped) == (3, 3, True)
    assert [lease.number for lease in pool.given] == [0, 1]
    assert (pool.stops, pool.closes) == (1, 1)


def test_stopped_before_the_first_lease() -> None:
    pool = Pool()
    outcome = dispatch.run(iter(leases(3)), pool, Book(), stopping=lambda: True)
    assert pool.given == [] and outcome.stopped and pool.closes == 1


def test_a_lease_that_waits_to_be_given_again_counts_as_left_when_stopped() -> None:
    pool, book = Pool(window=1, deaths=[0]), Book()
    told: list[WorkerDied] = []
    outcome = dispatch.run(iter(leases(3)), pool, book, stopping=lambda: bool(told), on_death=told.append)
    assert (outcome.made, outcome.left, outcome.failed, outcome.stopped) == (0, 3, 0, True)


def test_too_many_failures_end_the_run_and_are_no_interruption() -> None:
    pool, book = Pool(window=1, fails=[f"id{number}" for number in range(20)]), Book()
    outcome = dispatch.run(iter(leases(*[2] * 10)), pool, book, too_many=lambda failed: failed > 5)
    assert (outcome.failed, len(pool.given), outcome.stopped) == (6, 3, False)
    assert (pool.stops, pool.closes) == (1, 1)


def test_when_the_time_is_up_the_batches_in_hand_are_the_last_and_it_is_no_interruption() -> None:
    pool, book, work = Pool(window=2), Book(), leases(3, 3, 3, 3, 3)
    outcome = dispatch.run(iter(work), pool, book, late=lambda: len(book.made) >= 3)
    assert (outcome.made, outcome.left, outcome.stopped, pool.stops) == (3, 3, False, 1)
    assert [lease.number for lease in pool.given] == [0, 1]


@pytest.mark.parametrize("error", [StoreError("the disk is full"), KeyboardInterrupt()])
def test_what_committing_raises_ends_the_run_and_the_workers(error: BaseException) -> None:
    pool = Pool()

    def commit(results: Sequence[LeaseResult]) -> None:
        raise error

    with pytest.raises(type(error)):
        dispatch.run(iter(leases(2, 2, 2)), pool, commit)
    assert pool.closes == 1


def test_what_making_rows_raises_ends_the_workers_too() -> None:
    pool = Pool()

    def draw() -> Iterator[Lease]:
        yield leases(2)[0]
        raise StoreError("the table is gone")

    with pytest.raises(StoreError, match="the table is gone"):
        dispatch.run(draw(), pool, Book())
    assert pool.closes == 1
