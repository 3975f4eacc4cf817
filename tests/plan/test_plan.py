"""The plan: its batch shapes, its shares and its leases."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from joblines import batches, make, row_key, singles, taker

from sdbatch import plan
from sdbatch.types import Render, Row


@pytest.mark.parametrize(
    ("device", "memory", "width", "height", "rows"),
    [
        ("cpu", 0, 64, 64, 8), ("cpu", 0, 128, 128, 8), ("cpu", 0, 136, 128, 1), ("cpu", 512, 512, 512, 1),
        ("cuda", 80, 512, 512, 16), ("cuda", 70, 512, 512, 16), ("cuda", 69, 512, 512, 8), ("cuda", 24, 512, 512, 4),
        ("cuda", 12, 512, 512, 2), ("cuda", 8, 512, 512, 1), ("cuda", 8, 2048, 2048, 1), ("cuda", 80, 1024, 1024, 4),
        ("cuda", 80, 768, 768, 4), ("cuda", 80, 256, 512, 32), ("mps", 0, 512, 512, 1),
    ],
)  # fmt: skip
def test_the_batch_table(device: str, memory: int, width: int, height: int, rows: int) -> None:
    render = Render(0, 1, "float32", device, "sdpa", False, False, "auto", "degrade")
    assert plan.batch_size(render, memory, width, height) == rows


def test_a_batch_size_that_is_asked_for_stands() -> None:
    render = Render(3, 1, "float32", "cpu", "sdpa", False, False, "auto", "degrade")
    assert plan.batch_size(render, 0, 2048, 2048) == 3


@pytest.mark.parametrize(("rows", "size", "share"), [(8, 4, 0.0), (9, 4, 0.25), (1, 4, 0.75), (5, 1, 0.0)])
def test_the_padded_share(rows: int, size: int, share: float) -> None:
    assert make(singles(rows), size=size).padded_share == pytest.approx(share)


def test_twins_do_not_count_as_padding_or_batches() -> None:
    made = make([(0, line, 0) for line in range(9)], size=4)
    assert (made.batches, made.padded_share) == (1, 0.75)


def test_limit_cuts_rows_and_keeps_the_batches_of_the_whole() -> None:
    lines = singles(20)
    whole = make(lines)
    cut = [lease.rows for lease in whole.leases(taker(lines), 1, most=6)]
    assert [row.row for rows in cut for row in rows] == [row_key(line) for line in lines[:6]]
    assert [len(rows) for rows in cut[:-1]] == [len(one.rows) for one in whole.leases(taker(lines), 1)][: len(cut) - 1]
    assert list(whole.leases(taker(lines), 1, most=0)) == []


@given(most=st.integers(0, 30), feared=st.sets(st.integers(0, 9)))
def test_what_is_feared_comes_last_and_alone(most: int, feared: set[int]) -> None:
    lines = [(at // 2, at, at // 2 % 3) for at in range(20)]  # each picture is two rows
    whole = make(lines)
    every = [row for lease in whole.leases(taker(lines), 1) for row in lease.rows]
    ids = list(dict.fromkeys(row.id for row in every))
    alone = frozenset(ids[at] for at in feared)
    leases = list(whole.leases(taker(lines), 1, alone=alone, most=most))
    rows = [row for lease in leases for row in lease.rows]
    assert rows == [*(r for r in every if r.id not in alone), *(r for r in every if r.id in alone)][:most]
    assert all(len({row.id for row in lease.rows}) == 1 for lease in leases if lease.rows[0].id in alone)
    assert [lease.number for lease in leases] == list(range(len(leases)))


def sizes(batches: int, workers: int, least: int, most: int) -> list[int]:
    """How many batches the leases hold."""
    lines = singles(4 * batches)
    leases = list(make(lines).leases(taker(lines), workers, batches=lambda cell: (least, most)))
    assert [4 * lease.batches for lease in leases] == [len(lease.rows) for lease in leases]
    return [lease.batches for lease in leases]


def test_one_workers_leases_are_a_quarter_of_its_share_and_those_of_many_shrink_towards_the_end() -> None:
    assert sizes(64, 1, 1, 100) == [16] * 4
    shrinking = sizes(64, 2, 1, 100)
    assert shrinking[:4] == [8, 7, 7, 6] and shrinking[-8:] == [1] * 8
    assert shrinking == sorted(shrinking, reverse=True)


def test_leases_hold_as_many_batches_as_the_pace_says() -> None:
    assert sizes(1000, 1, 1, 30) == [*[30] * 33, 10]
    assert sizes(64, 2, 5, 100)[-3:] == [5, 5, 1]
    lines = singles(4 * 1000)
    assert max(lease.batches for lease in make(lines).leases(taker(lines), 1)) == plan.LEASE_BATCHES


def test_batches_are_asked_for_as_each_lease_is_cut() -> None:
    lines = singles(4 * 100)
    most = iter([4, 9, 2, *[50] * 9])
    leases = make(lines).leases(taker(lines), 1, batches=lambda cell: (1, next(most)))
    assert [next(leases).batches for _ in range(4)] == [4, 9, 2, 25]


def test_what_a_worker_loads_is_loaded_once_whichever_axis_comes_first() -> None:
    keys = [json.dumps([model, [lora], size]) for size in "ab" for lora in "xy" for model in "mn"]
    lines = [(at, 0, at % len(keys)) for at in range(4 * len(keys))]
    made = plan.make(batches(lines, key=keys.__getitem__), len(lines), lambda *key: 4)
    order = [made.kinds[lease.cell].key for lease in made.leases(taker(lines), 1)]
    assert Counter(order) == dict.fromkeys(keys, 1)
    assert [json.loads(key) for key in order] == [
        [model, [lora], size] for model in "mn" for lora in "xy" for size in "ab"
    ]


def test_rows_are_made_only_when_their_lease_is_asked_for() -> None:
    lines = singles(64)
    taken: list[int] = []

    def take(numbers: Sequence[int]) -> list[Row]:
        taken.extend(numbers)
        return taker(lines)(numbers)

    leases = make(lines).leases(take, 1)
    assert taken == []
    next(leases)
    assert taken == list(range(16))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 3)), max_size=80),
    st.integers(1, 4),
    st.integers(1, 5),
    st.integers(1, 4),
    st.sets(st.integers(0, 79), max_size=30),
    st.integers(1, 30),
)
def test_leases_cover_each_row_left_exactly_once(
    drawn: list[tuple[int, int]], keys: int, size: int, workers: int, finished: set[int], cut: int
) -> None:
    lines = [(picture, line, picture % keys) for picture, line in drawn]
    done = list(dict.fromkeys(lines[at] for at in sorted(finished) if at < len(lines)))
    made = make(lines, done, size=size, cut=cut)
    leases = list(made.leases(taker(lines), workers))
    given_out = [row.row for lease in leases for row in lease.rows]
    recorded = [row.row for row in taker(lines)(made.recorded.tolist())]
    wanted = {row_key(line) for line in lines} - {row_key(line) for line in done}
    assert Counter([*given_out, *recorded]) == Counter(wanted)
    assert [lease.number for lease in leases] == list(range(len(leases)))
    homes: dict[str, int] = {}
    for lease in leases:
        assert len({row.params["key"] for row in lease.rows}) == 1, "one batch key a lease"
        assert all(homes.setdefault(row.id, lease.number) == lease.number for row in lease.rows), "twins together"
    _whole_batches(leases, size)


def _whole_batches(leases: Sequence[Any], size: int) -> None:
    """Every lease but the last of its key holds whole batches."""
    last = {lease.rows[0].params["key"]: lease.number for lease in leases}
    for lease in leases:
        pictures = len({row.id for row in lease.rows})
        assert pictures <= size * plan.LEASE_BATCHES
        assert pictures % size == 0 or last[lease.rows[0].params["key"]] == lease.number
