"""Rows and what is done → a plan: without what is there, rows alike together, cell after cell."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sdbatch.plan.planned import Cell, Plan
from sdbatch.spec import arrow, digests
from sdbatch.spec.digests import Digests


def make(
    batches: Iterable[pa.RecordBatch],
    done_rows: pa.Array,
    done_ids: pa.Array,
    held: pa.Array,
    size: Callable[[str, int, int], int],
) -> Plan:
    """Take out what is done, find rows alike, group by batch key.

    Args:
        batches: as `spec.grid.Rows` gives them; where they have no row keys, ids stand for them in `done_rows` and
            `held` too.
        done_rows, done_ids: row keys and ids of the manifest's lines.
        held: row keys that are not to be tried.
        size: (batch key, width, height) → batch shape.
    """
    keys: dict[str, int] = {}
    sizes: list[int] = []
    parts: list[_Rows] = []
    for batch in batches:
        key = batch.column("key")
        if not isinstance(key, pa.DictionaryArray):
            key = key.dictionary_encode()
        codes = arrow.values(key.indices)
        table = np.zeros(len(key.dictionary), np.int32)
        for code, name in enumerate(key.dictionary.to_pylist()):
            if name not in keys:
                first = int(np.argmax(codes == code))
                keys[name] = len(keys)
                sizes.append(size(name, *(batch.column(side)[first].as_py() for side in ("width", "height"))))
            table[code] = keys[name]
        ids = Digests.of(batch.column("id"))
        rows = Digests.of(batch.column("row")) if "row" in batch.schema.names else ids
        parts.append(_Rows(arrow.values(batch.column("index")).astype(np.uint32), table[codes], ids, rows))
    if not parts:
        nothing = np.array([], np.uint32)
        return Plan(0, 0, 0, 0, len(done_rows), np.array([], np.int64), nothing, np.array([], bool), ())
    done = Digests.of(done_rows)
    there = done if done_ids is done_rows else Digests.of(done_ids)
    cells = [Cell(name, size, 0, 0) for name, size in zip(keys, sizes, strict=True)]
    return _order(_Rows.joined(parts), done, there, Digests.of(held), cells)


@dataclass(frozen=True)
class _Rows:
    """Rows by column: number, cell, id, and row key, which is the same object where ids tell rows apart."""

    numbers: NDArray[np.uint32]
    cells: NDArray[np.int32]
    ids: Digests
    rows: Digests

    @classmethod
    def joined(cls, parts: list[_Rows]) -> _Rows:
        numbers, cells = (np.concatenate([getattr(part, name) for part in parts]) for name in ("numbers", "cells"))
        ids = digests.joined([part.ids for part in parts])
        same = all(part.rows is part.ids for part in parts)
        rows = ids if same else digests.joined([part.rows for part in parts])
        parts.clear()
        found = cls(numbers, cells, ids, rows)
        return found if np.all(numbers[1:] > numbers[:-1]) else found[np.argsort(numbers)]

    def __getitem__(self, picks: NDArray[np.bool_] | NDArray[np.int64]) -> _Rows:
        ids = self.ids[picks]
        return _Rows(self.numbers[picks], self.cells[picks], ids, ids if self.rows is self.ids else self.rows[picks])


def _order(rows: _Rows, done_rows: Digests, done_ids: Digests, held: Digests, cells: list[Cell]) -> Plan:
    total = len(rows.numbers)
    retired = int(np.count_nonzero(~done_rows.among(rows.rows)))
    at, heads = rows.rows.heads()
    if len(at):
        once = np.ones(total, bool)
        once[at[at != heads]] = False
        rows = rows[once]
    count = len(rows.numbers)
    finished = rows.rows.among(done_rows)
    there = ~finished & rows.ids.among(done_ids)
    waiting = ~(finished | there) & rows.rows.among(held)
    recorded = rows.numbers[there].astype(np.int64)
    left = ~(finished | there | waiting)
    done, kept = int(finished.sum()), int(waiting.sum())
    if not left.all():
        rows = rows[left]
    order, begins = _grouped(rows)
    codes = rows.cells if order is None else rows.cells[order]
    number = np.bincount(codes, minlength=len(cells)).tolist()
    pictures = np.bincount(codes[begins], minlength=len(cells)).tolist()
    kinds = tuple(Cell(one.key, one.size, n, p) for one, n, p in zip(cells, number, pictures, strict=True))
    numbers = rows.numbers if order is None else rows.numbers[order]
    return Plan(count, total - count, done, kept, retired, recorded, numbers, begins, kinds)


def _grouped(rows: _Rows) -> tuple[NDArray[np.int64] | None, NDArray[np.bool_]]:
    """The order: by cell, rows alike in id at the first one's place (None: as it is); and where a new id begins."""
    count = len(rows.numbers)
    at, heads = rows.ids.heads()
    if not len(at):
        sorted_ = bool(np.all(rows.cells[1:] >= rows.cells[:-1]))
        return None if sorted_ else np.argsort(rows.cells, kind="stable"), np.ones(count, bool)
    head = np.arange(count)
    head[at] = heads
    order = np.lexsort((head, rows.cells))
    return order, (np.diff(head[order], prepend=-1) != 0) | (np.diff(rows.cells[order], prepend=-1) != 0)


def colliding(batches: Iterable[pa.RecordBatch]) -> list[tuple[int, int]]:
    """Numbers of rows with different ids whose file names are one, case folded."""
    numbers, names, ids = [], [], []
    for batch in batches:
        numbers.append(arrow.values(batch.column("index")))
        folded = [path.casefold() for path in batch.column("path").to_pylist()]
        names.append(np.fromiter((hash(path) for path in folded), np.int64, len(folded)))
        ids.append(Digests.of(batch.column("id")))
    if not numbers:
        return []
    number, name, identity = np.concatenate(numbers), np.concatenate(names), digests.joined(ids)
    order = np.argsort(name, kind="stable")
    name, identity = name[order], identity[order]
    other = (identity.high[1:] != identity.high[:-1]) | (identity.low[1:] != identity.low[:-1])
    same = (name[1:] == name[:-1]) & other
    return [(int(number[order[at]]), int(number[order[at + 1]])) for at in np.flatnonzero(same).tolist()]
