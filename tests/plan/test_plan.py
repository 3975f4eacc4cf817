"""The plan: what is left, in which order, in which leases."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdbatch import plan
from sdbatch.spec.grid import SCHEMA
from sdbatch.types import Render, Row

Line = tuple[int, int, int]
"""Of a row: its picture, its line, and which batch key the picture has."""


def hexed(*parts: int) -> str:
    """As real keys are: in no order that follows from the rows'."""
    return hashlib.blake2b(repr(parts).encode(), digest_size=10).hexdigest()


def identity(line: Line) -> str:
    return hexed(line[0])


def row_key(line: Line) -> str:
    return hexed(line[0], line[1])


def batches(
    lines: Sequence[Line],
    cut: int = 10**9,
    path: Callable[[Line], str] = lambda line: f"images/{identity(line)}.png",
    key: Callable[[int], str] = lambda number: f'["model{number % 2}", {number}]',
) -> Iterable[pa.RecordBatch]:
    for start in range(0, len(lines), cut):
        part = lines[start : start + cut]
        yield pa.record_batch(
            [
                pa.array(range(start, start + len(part)), pa.int64()),
                pa.array(map(identity, part), pa.string()),
                pa.array(map(row_key, part), pa.string()),
                pa.array(map(path, part), pa.string()),
                pa.array([key(line[2]) for line in part], pa.string()),
                pa.array([64 + 8 * line[2] for line in part], pa.int32()),
                pa.array([64] * len(part), pa.int32()),
            ],
            schema=SCHEMA,
        )


def texts(values: Iterable[str] = ()) -> pa.Array:
    return pa.array(list(values), pa.string())


def make(
    lines: Sequence[Line], done: Sequence[Line] = (), held: Sequence[Line] = (), size: int = 4, cut: int = 10**9
) -> plan.Plan:
    return plan.make(
        batches(lines, cut),
        texts(map(row_key, done)),
        texts(map(identity, done)),
        texts(map(row_key, held)),
        lambda key, width, height: size,
    )


def taker(lines: Sequence[Line]) -> Callable[[Sequence[int]], list[Row]]:
    def take(numbers: Sequence[int]) -> list[Row]:
        return [
            Row(identity(lines[at]), row_key(lines[at]), "main", "", {"number": at, "key": lines[at][2]}, {})
            for at in numbers
        ]

    return take


def singles(count: int, key: int = 0, first: int = 0) -> list[Line]:
    return [(first + at, 0, key) for at in range(count)]


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


def test_rows_are_grouped_by_batch_key() -> None:
    lines = [(0, 0, 0), (1, 0, 1), (2, 0, 0), (3, 0, 2), (4, 0, 1)]
    made = make(lines, size=2)
    assert made.order.tolist() == [0, 2, 1, 4, 3]
    assert made.cells.tolist() == [0, 0, 1, 1, 2]
    assert made.pictures.tolist() == [0, 1, 0, 1, 0]
    assert [(cell.rows, cell.pictures, cell.batches) for cell in made.kinds] == [(2, 2, 1), (2, 2, 1), (1, 1, 1)]
    assert made.model_loads == 2 and made.batches == 3


def test_the_batch_shape_is_asked_for_with_the_size_of_its_key() -> None:
    asked: list[tuple[str, int, int]] = []

    def size(key: str, width: int, height: int) -> int:
        asked.append((key, width, height))
        return 1

    plan.make(batches([(0, 0, 1), (1, 0, 0), (2, 0, 1)], cut=1), texts(), texts(), texts(), size)
    assert asked == [('["model1", 1]', 72, 64), ('["model0", 0]', 64, 64)]


def test_done_rows_are_taken_out_and_lines_no_longer_asked_for_are_retired() -> None:
    lines = singles(6)
    made = make(lines, done=[lines[1], lines[4], (99, 0, 0)])
    assert made.order.tolist() == [0, 2, 3, 5]
    assert (made.rows, made.done, made.left, made.retired) == (6, 2, 4, 1)


def test_an_empty_job_retires_all() -> None:
    made = make([], done=singles(3))
    assert (made.rows, made.left, made.retired, made.batches, made.padded_share) == (0, 0, 3, 0, 0.0)


def test_held_rows_wait_but_count_as_left() -> None:
    lines = singles(5)
    made = make(lines, done=[lines[0]], held=[lines[0], lines[2]])
    assert made.order.tolist() == [1, 3, 4]
    assert (made.done, made.held, made.left) == (1, 1, 4)


def test_rows_alike_in_id_stand_side_by_side() -> None:
    lines = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (2, 0, 0), (1, 1, 0), (0, 2, 0)]
    made = make(lines, size=2)
    assert made.order.tolist() == [0, 2, 5, 1, 4, 3]
    assert made.pictures.tolist() == [0, 0, 0, 1, 1, 2]
    assert (made.kinds[0].rows, made.kinds[0].pictures, made.batches) == (6, 3, 2)


def test_a_row_whose_picture_is_there_is_recorded_not_rendered() -> None:
    lines = [(0, 0, 0), (0, 1, 0), (1, 0, 0)]
    made = make(lines, done=[lines[0]], held=[lines[1]])
    assert made.recorded.tolist() == [1]
    assert made.order.tolist() == [2]
    assert (made.done, made.held, made.left) == (1, 0, 2)


def test_a_row_written_twice_counts_once() -> None:
    made = make([(0, 0, 0), (1, 0, 0), (0, 0, 0)])
    assert (made.rows, made.duplicates, made.left) == (2, 1, 2)
    assert made.order.tolist() == [0, 1]


@pytest.mark.parametrize(("rows", "size", "share"), [(8, 4, 0.0), (9, 4, 0.25), (1, 4, 0.75), (5, 1, 0.0)])
def test_the_padded_share(rows: int, size: int, share: float) -> None:
    assert make(singles(rows), size=size).padded_share == pytest.approx(share)


def test_twins_do_not_count_as_padding_or_batches() -> None:
    made = make([(0, line, 0) for line in range(9)], size=4)
    assert (made.batches, made.padded_share) == (1, 0.75)


def test_the_order_follows_from_the_job_alone() -> None:
    lines = [(at % 7, at // 7, at % 7 % 3) for at in range(40)]
    plans = [make(lines, cut=cut) for cut in (1000, 7, 1)]
    assert len({(*made.order.tolist(), *made.pictures.tolist(), *made.cells.tolist()) for made in plans}) == 1
    assert sorted(plans[0].order.tolist()) == list(range(40))


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
    made = plan.make(batches(lines, key=keys.__getitem__), texts(), texts(), texts(), lambda *key: 4)
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


def test_file_names_that_collide_are_found_whatever_their_case() -> None:
    lines = [(0, 0, 0), (1, 0, 0), (2, 0, 0), (3, 0, 0)]
    names = {0: "images/Red.png", 1: "images/blue.png", 2: "images/red.png", 3: "images/blue-1.png"}
    assert plan.colliding(batches(lines, 3, lambda line: names[line[0]])) == [(0, 2)]


def test_one_picture_in_two_rows_does_not_collide_with_itself() -> None:
    lines = [(0, 0, 0), (0, 1, 0)]
    assert plan.colliding(batches(lines, path=lambda line: "images/a.png")) == []
    assert plan.colliding([]) == []
