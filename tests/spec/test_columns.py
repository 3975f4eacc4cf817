"""Columns in which equal values are stored once."""

from __future__ import annotations

import numpy as np

from sdbatch.spec.columns import Column


def test_what_is_taken_holds_no_value_that_no_row_has() -> None:
    column = Column(["a", "b", "c"], np.array([2, 0, 2, 1]))
    some = column.take(np.array([2, 3]))
    assert list(some.values) == ["b", "c"] and some.spread(2) == ["c", "b"]
    assert column.take(np.array([3, 2, 1, 0])).spread(4) == ["b", "c", "a", "c"]
    assert column.take(np.array([], np.int64)).values == []
    assert Column(["a"]).take(np.array([1])).spread(1) == ["a"]
