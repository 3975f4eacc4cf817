"""Rows and what is done → what is left, in which order; in one part or in many, in memory or in a file."""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from joblines import Line, batches, identity, make, row_key, singles

from sdbatch import plan
from sdbatch.errors import StoreError
from sdbatch.plan import runs

DRAWN = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 2)), max_size=50)
WAYS: list[dict[str, int]] = [{}, {"each": 4}, {"each": 4, "room": 40}, {"each": 1, "room": 0}]
"""Of making a plan: as it comes; in parts; in parts in a file, now and then or at once."""


def summary(made: plan.Plan) -> tuple[Any, ...]:
    counts = (made.rows, made.duplicates, made.done, made.held, made.retired)
    return *counts, made.recorded.tolist(), made.order.tolist(), made.begins.tolist(), made.kinds


def plainly(lines: Sequence[Line], done: Sequence[Line], held: Sequence[Line], lost: Sequence[Line]) -> tuple[Any, ...]:
    """What a plan is to be, in sets and sorted lists of Python."""
    first: dict[str, int] = {}
    for at, line in enumerate(lines):
        first.setdefault(row_key(line), at)
    finished, waits = ({row_key(line) for line in some} for some in (done, held))
    there = {identity(line) for line in done} - {identity(line) for line in lost}
    recorded, left, counts = [], [], {"done": 0, "held": 0}
    for key, at in first.items():
        if key in finished:
            counts["done"] += 1
        elif identity(lines[at]) in there:
            recorded.append(at)
        elif key in waits:
            counts["held"] += 1
        else:
            left.append(at)
    heads: dict[int, int] = {}
    for at in left:
        heads.setdefault(lines[at][0], at)
    cells = list(dict.fromkeys(line[2] for line in lines))
    order = sorted(left, key=lambda at: (cells.index(lines[at][2]), heads[lines[at][0]], at))
    kinds = [
        (sum(lines[at][2] == cell for at in left), len({lines[at][0] for at in left if lines[at][2] == cell}))
        for cell in cells
    ]
    begins = [heads[lines[at][0]] == at for at in order]
    retired = sum(row_key(line) not in first for line in done)
    return len(first), len(lines) - len(first), *counts.values(), retired, recorded, order, begins, kinds


@pytest.mark.parametrize("way", WAYS)
@settings(deadline=None)
@given(DRAWN, st.integers(1, 4), DRAWN, DRAWN, DRAWN, st.integers(1, 20))
def test_a_plan_is_the_plain_one_in_however_many_parts(
    way: dict[str, int], drawn: Any, keys: int, done: Any, held: Any, lost: Any, cut: int
) -> None:
    lines, done, held, lost = ([(a, b, a % keys) for a, b in some] for some in (drawn, done, held, lost))
    made = make(lines, done, held, lost, cut=cut, **way)
    *found, kinds = summary(made)
    assert (*found, [(cell.rows, cell.pictures) for cell in kinds]) == plainly(lines, done, held, lost)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("cells", [1, 253, 254, 255, 400])
def test_any_number_of_cells_is_told_apart(cells: int, way: dict[str, int]) -> None:
    lines = [(at, 0, at % cells) for at in range(2 * cells)]
    made = make(lines, cut=100, **way)
    assert made.order.tolist() == sorted(range(2 * cells), key=lambda at: at % cells)
    assert [cell.rows for cell in made.kinds] == [2] * cells


def test_numbers_may_come_in_any_order_and_with_gaps() -> None:
    lines = [(at % 30, at // 30, at % 30 % 3) for at in range(60)]
    whole = list(batches(lines, 12))
    inorder = by_cell(plan.make([whole[at] for at in (0, 2, 4)], 60, lambda *key: 4))
    for way in WAYS:
        assert by_cell(plan.make([whole[at] for at in (4, 0, 2)], 60, lambda *key: 4, **way)) == inorder


def by_cell(made: plan.Plan) -> dict[str, tuple[list[int], list[bool]]]:
    return {cell.key: (made.order[here].tolist(), made.begins[here].tolist()) for cell, here in made.slices()}


def test_what_is_written_out_leaves_no_file_behind_whatever_happens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert make(singles(1000), singles(500), each=50, room=0).left == 500
    assert list(tmp_path.iterdir()) == []

    def broken() -> Any:
        yield from batches(singles(1000), 100)
        raise KeyError("a row is wrong")

    with pytest.raises(KeyError):
        plan.make(broken(), 1000, lambda *key: 4, each=50, room=0)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_said_with_the_folder_and_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    class Full:
        def seek(self, at: int) -> int:
            return at

        def write(self, data: memoryview) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

        def close(self) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(runs.tempfile, "TemporaryFile", lambda **how: Full())
    with pytest.raises(StoreError, match=rf"{tmp_path}: .* temporary files: No space left on device; .*TMPDIR"):
        make(singles(100), each=10, room=0)


def test_no_folder_for_temporary_files_is_said_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> str:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr(tempfile, "gettempdir", nowhere)
    monkeypatch.setattr(tempfile, "tempdir", None)
    with pytest.raises(StoreError, match=r"^a plan of so many rows .* No usable temporary directory"):
        make(singles(100), each=10, room=0)


def test_a_file_that_takes_and_gives_a_little_at_a_time_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = tempfile.TemporaryFile

    class Slow:
        def __init__(self, **how: Any) -> None:
            self._file = whole(**how)
            self.seek, self.close = self._file.seek, self._file.close

        def write(self, data: memoryview) -> int:
            return self._file.write(data[:7])

        def readinto(self, data: memoryview) -> int:
            return self._file.readinto(data[:5])

    monkeypatch.setattr(runs.tempfile, "TemporaryFile", Slow)
    lines = [(at % 20, at // 20, at % 20 % 3) for at in range(60)]
    assert summary(make(lines, lines[:9], each=4, room=0)) == summary(make(lines, lines[:9]))


@pytest.mark.parametrize(
    ("count", "each", "number"), [(0, 4, 1), (4, 4, 1), (5, 4, 2), (8, 4, 2), (9, 4, 4), (100, 1, 128)]
)
def test_the_parts_are_a_power_of_two(count: int, each: int, number: int) -> None:
    assert runs.parts(count, each) == number


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

    plan.make(batches([(0, 0, 1), (1, 0, 0), (2, 0, 1)], cut=1), 3, size)
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


def test_the_order_follows_from_the_job_alone() -> None:
    lines = [(at % 7, at // 7, at % 7 % 3) for at in range(40)]
    plans = [make(lines, cut=cut) for cut in (1000, 7, 1)]
    assert len({(*made.order.tolist(), *made.pictures.tolist(), *made.cells.tolist()) for made in plans}) == 1
    assert sorted(plans[0].order.tolist()) == list(range(40))


def test_file_names_that_collide_are_found_whatever_their_case() -> None:
    lines = [(0, 0, 0), (1, 0, 0), (2, 0, 0), (3, 0, 0)]
    names = {0: "images/Red.png", 1: "images/blue.png", 2: "images/red.png", 3: "images/blue-1.png"}
    assert plan.colliding(batches(lines, 3, lambda line: names[line[0]]), 4) == [(0, 2)]


def test_one_picture_in_two_rows_does_not_collide_with_itself() -> None:
    lines = [(0, 0, 0), (0, 1, 0)]
    assert plan.colliding(batches(lines, path=lambda line: "images/a.png"), 2) == []
    assert plan.colliding([], 0) == []


def test_colliding_names_are_found_in_parts_too() -> None:
    lines = singles(60)
    names = {at: f"images/{at % 40}.png" for at in range(60)}
    found = [sorted(plan.colliding(batches(lines, 7, lambda line: names[line[0]]), 60, **way)) for way in WAYS]
    assert found == [[(at, at + 40) for at in range(20)]] * len(WAYS)
