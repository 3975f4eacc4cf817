"""Rows left → the order in which they are made: by cell, rows alike in id at the first one's place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdbatch.plan.planned import Cell
from sdbatch.plan.runs import Runs

AT_ONCE = 1 << 20
_NONE, _FOLLOWS, _FIRST = 0, 1, 2
"""What stands for a row that is not left, for one that stands beside another, and for the first cell."""
Order = NDArray[np.uint32]
Begins = NDArray[np.bool_]


class Left:
    """The cells of rows by number, a byte or a few each.

    Args:
        count: the rows' numbers are below it.
        at_once: how many numbers are put in order together.
    """

    def __init__(self, count: int, at_once: int = AT_ONCE) -> None:
        self._codes: NDArray[np.unsignedinteger[Any]] = np.zeros(count, np.uint8)
        self._at_once = at_once
        self._following: list[tuple[NDArray[np.uint32], NDArray[np.int64]]] = []

    def put(self, numbers: NDArray[np.uint32], cells: NDArray[np.int64]) -> None:
        """Rows and their cells."""
        codes = cells + _FIRST
        top = int(codes.max(initial=0))
        for kind in (np.uint16, np.uint32):
            if top > np.iinfo(self._codes.dtype).max:
                self._codes = self._codes.astype(kind)
        self._codes[numbers] = codes

    def drop(self, numbers: NDArray[np.uint32]) -> None:
        """Rows that are not left after all."""
        self._codes[numbers] = _NONE

    def join(self, numbers: NDArray[np.uint32], heads: NDArray[np.uint32], runs: Runs) -> None:
        """Rows alike in id to others before them, which they are to follow; they wait in `runs` meanwhile."""
        if len(numbers):
            codes = self._codes[numbers].astype(np.uint32)
            kinds, counts = np.unique(codes, return_counts=True)
            self._following.append((kinds, counts))
            parts = (heads // self._at_once).astype(np.uint32)
            runs.push("following", parts, {"number": numbers, "head": heads, "code": codes})
            self._codes[numbers] = _FOLLOWS

    def ordered(self, cells: Sequence[Cell], runs: Runs) -> tuple[Order, Begins, tuple[Cell, ...]]:
        """The numbers in order, where a new picture begins, and the cells with what they hold."""
        rows = np.zeros(len(cells) + _FIRST, np.int64)
        for start in range(0, len(self._codes), self._at_once):
            rows += np.bincount(self._codes[start : start + self._at_once], minlength=len(rows))
        for kinds, counts in self._following:
            rows[kinds] += counts
        rows[:_FIRST] = 0
        free = np.cumsum(rows) - rows  # where each cell's next row is to stand
        total = int(rows.sum())
        order, begins = np.empty(total, np.uint32), np.empty(total, bool)
        pictures = np.zeros(len(rows), np.int64)
        for part in range(-(-len(self._codes) // self._at_once)):
            number, code, new = self._inorder(part, runs)
            counts = np.bincount(code, minlength=len(rows))
            at = np.arange(len(code)) + np.repeat(free - np.cumsum(counts) + counts, counts)
            order[at], begins[at] = number, new
            pictures += np.bincount(code[new], minlength=len(rows))
            free += counts
        totals = zip(cells, rows[_FIRST:].tolist(), pictures[_FIRST:].tolist(), strict=True)
        return order, begins, tuple(replace(cell, rows=n, pictures=p) for cell, n, p in totals)

    def _inorder(self, part: int, runs: Runs) -> tuple[NDArray[np.uint32], NDArray[np.int64], NDArray[np.bool_]]:
        """The rows whose first ones alike in id are in this part: numbers and codes by cell, and where an id begins."""
        start = part * self._at_once
        codes = self._codes[start : start + self._at_once]
        mine = np.flatnonzero(codes >= _FIRST)
        number, code = (mine + start).astype(np.uint32), codes[mine].astype(np.int64)
        following = runs.pull("following", part)
        if following is None:
            order = np.argsort(codes[mine], kind="stable")
            return number[order], code[order], np.ones(len(order), bool)
        head = np.concatenate([number, following["head"]])
        number = np.concatenate([number, following["number"]])
        code = np.concatenate([code, following["code"].astype(np.int64)])
        order = np.lexsort((number, head, code))
        head, code = head[order], code[order]
        new = np.ones(len(order), bool)
        new[1:] = (head[1:] != head[:-1]) | (code[1:] != code[:-1])
        return number[order], code, new
