"""What is left to do, in which order and in which leases; and what it will take."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sdbatch.spec import arrow, digests
from sdbatch.spec.digests import Digests
from sdbatch.types import Lease, Render, Row

LEASE_BATCHES = 16
LEASES_A_WORKER = 4


def batch_size(render: Render, memory: int, width: int, height: int) -> int:
    """The batch shape of a row. A table, so that it never follows from load, neighbours or job length.

    Args:
        memory: the device's total memory in GiB (CPUs: not looked at).
    """
    if render.batch_size:
        return render.batch_size
    area = width * height / 512**2
    if render.device == "cpu":
        return 8 if area <= 1 / 16 else 1  # measured: docs/benchmarks.md
    rows = next((rows for least, rows in ((70, 16), (38, 8), (20, 4), (10, 2)) if memory >= least), 1)
    return 1 << math.floor(math.log2(max(1.0, rows / area)))


@dataclass(frozen=True)
class Cell:
    """Rows of one batch key."""

    key: str
    size: int
    rows: int
    pictures: int

    @property
    def batches(self) -> int:
        """How many pipeline calls the pictures take."""
        return -(-self.pictures // self.size)


@dataclass(frozen=True)
class Plan:
    """Rows less those done, as numbers in the order in which they will be made.

    Attributes:
        rows: how many different rows the job has.
        duplicates: rows written twice in the spec, alike in everything.
        done: rows that the manifest holds.
        recorded: numbers of rows whose picture is there under another row: recorded, not rendered.
        order: (n,) uint32 numbers of the rows left, cell after cell; rows alike in id stand side by side.
        begins: (n,) bool, whether a row's picture is another than that of the row before it.
        kinds: the cells.
        held: rows left out for now: they failed before, and are not to be tried again.
        retired: lines of the manifest that the job no longer asks for.
    """

    rows: int
    duplicates: int
    done: int
    held: int
    retired: int
    recorded: NDArray[np.int64]
    order: NDArray[np.uint32]
    begins: NDArray[np.bool_]
    kinds: tuple[Cell, ...]

    @property
    def cells(self) -> NDArray[np.int64]:
        """(n,) int64, which cell each row belongs to."""
        return np.repeat(np.arange(len(self.kinds)), [cell.rows for cell in self.kinds])

    @property
    def pictures(self) -> NDArray[np.int64]:
        """(n,) int64, which picture of its cell each row is."""
        found = [np.cumsum(self.begins[here]) - 1 for _, here in self.slices()]
        return np.concatenate([np.array([], np.int64), *found])

    def slices(self) -> Iterator[tuple[Cell, slice]]:
        """Each cell that has rows left, and where they are in `order`."""
        start = 0
        for cell in self.kinds:
            if cell.rows:
                yield cell, slice(start, start + cell.rows)
            start += cell.rows

    @property
    def left(self) -> int:
        """Rows that have no line in the manifest yet."""
        return len(self.order) + len(self.recorded) + self.held

    @property
    def batches(self) -> int:
        """Pipeline calls that the rows left take."""
        return sum(cell.batches for cell in self.kinds)

    @property
    def padded_share(self) -> float:
        """Share of the work that is padding: places of the batches that no picture needs."""
        places = sum(cell.batches * cell.size for cell in self.kinds)
        return 1 - sum(cell.pictures for cell in self.kinds) / places if places else 0.0

    @property
    def model_loads(self) -> int:
        """How often one worker loads a model."""
        return len({json.loads(cell.key)[0] for cell in self.kinds if cell.rows})

    def leases(
        self,
        take: Callable[[Sequence[int]], list[Row]],
        workers: int,
        *,
        alone: frozenset[str] = frozenset(),
        most: int | None = None,
    ) -> Iterator[Lease]:
        """Cut the rows left into leases, making the rows of each when it is asked for.

        A lease holds whole batches of one cell: about a quarter of a worker's share, at most 16 batches.

        Args:
            alone: ids of pictures under which a worker may have died: last, and each in a lease of its own.
            most: how many rows there are to be in all; None is all.
        """
        room = len(self.order) if most is None else most
        for number, rows in enumerate(self._shares(take, workers, alone)):
            if room <= 0:
                return
            yield Lease(number, rows[:room])
            room -= len(rows)

    def _shares(
        self, take: Callable[[Sequence[int]], list[Row]], workers: int, alone: frozenset[str]
    ) -> Iterator[tuple[Row, ...]]:
        feared: dict[str, list[Row]] = {}
        for cell, here in self.slices():
            spread = -(-cell.batches // (workers * LEASES_A_WORKER))
            step = cell.size * max(1, min(LEASE_BATCHES, spread))
            starts = (np.flatnonzero(self.begins[here])[::step] + here.start).tolist()
            for start, end in zip(starts, [*starts[1:], here.stop], strict=True):
                rows = take(self.order[start:end].tolist())
                for row in rows:
                    if row.id in alone:
                        feared.setdefault(row.id, []).append(row)
                if calm := tuple(row for row in rows if row.id not in alone):
                    yield calm
        yield from map(tuple, feared.values())


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
