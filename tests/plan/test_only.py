"""Some rows of a plan alone: what is left of its cells and pictures."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sdbatch.plan import Cell, Plan

ROWS = st.lists(st.lists(st.integers(1, 3), max_size=6), min_size=1, max_size=4)
"""Cells; of each its pictures, by how many rows are alike in id."""


def plan(cells: list[list[int]]) -> Plan:
    count = sum(map(sum, cells))
    begins = [one == 0 for cell in cells for alike in cell for one in range(alike)]
    kinds = tuple(Cell(f"{at}", 2, sum(cell), len(cell)) for at, cell in enumerate(cells))
    order = np.arange(count, dtype=np.uint32)[::-1].copy()
    return Plan(count, 0, 0, 0, 0, np.array([1000, 2000]), order, np.array(begins, np.bool_), kinds)


@given(ROWS, st.data())
def test_what_is_kept_keeps_its_order_and_its_neighbours(cells: list[list[int]], data: st.DataObject) -> None:
    whole = plan(cells)
    numbers = np.array(sorted(data.draw(st.sets(st.integers(0, max(0, len(whole.order) - 1))))), np.int64)
    some = whole.only(np.append(numbers, 1000))
    kept = np.isin(whole.order, numbers)
    assert some.order.tolist() == whole.order[kept].tolist() and some.recorded.tolist() == [1000]
    assert [cell.key for cell in some.kinds] == [cell.key for cell in whole.kinds]
    before = list(zip(whole.cells[kept].tolist(), whole.pictures[kept].tolist(), strict=True))
    after = list(zip(some.cells.tolist(), some.pictures.tolist(), strict=True))
    assert [one == other for one, other in zip(before, before[1:], strict=False)] == [
        one == other for one, other in zip(after, after[1:], strict=False)
    ], "rows alike in id still share a picture, and no others do"
    assert sum(cell.pictures for cell in some.kinds) == len(set(before)) == some.begins.sum()


def test_nothing_is_kept_of_an_empty_plan() -> None:
    assert plan([[]]).only(np.array([], np.int64)).left == 0
