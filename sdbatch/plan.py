"""What is left to do, in which order and in which leases; and what it will take."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

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
        order: (n,) int64 numbers of the rows left; rows alike in id stand side by side.
        pictures: (n,) int64, which picture of its cell each is.
        cells: (n,) int64, which cell each belongs to.
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
    order: NDArray[np.int64]
    pictures: NDArray[np.int64]
    cells: NDArray[np.int64]
    kinds: tuple[Cell, ...]

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
        for code in dict.fromkeys(self.cells.tolist()):
            here = np.flatnonzero(self.cells == code)
            size = self.kinds[code].size
            spread = -(-self.kinds[code].batches // (workers * LEASES_A_WORKER))
            step = size * max(1, min(LEASE_BATCHES, spread))
            which = self.pictures[here] // step
            starts = np.flatnonzero(np.diff(which, prepend=-1)).tolist()
            for start, end in zip(starts, [*starts[1:], len(here)], strict=True):
                rows = take(self.order[here[start:end]].tolist())
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
        batches: as `spec.grid.Rows.batches` gives them.
        done_rows, done_ids: row keys and ids of the manifest's lines.
        held: row keys that are not to be tried.
        size: (batch key, width, height) → batch shape.
    """
    keys: dict[str, int] = {}
    sizes: list[int] = []
    parts: list[tuple[NDArray[np.int64], NDArray[np.bytes_], NDArray[np.bytes_], NDArray[np.int64]]] = []
    for batch in batches:
        key = batch.column("key").dictionary_encode()
        names = key.dictionary.to_pylist()
        codes = key.indices.to_numpy()
        first = {code: int(np.argmax(codes == code)) for code in range(len(names))}
        for code, name in enumerate(names):
            if name not in keys:
                keys[name] = len(keys)
                width, height = (batch.column(side)[first[code]].as_py() for side in ("width", "height"))
                sizes.append(size(name, width, height))
        table = np.array([keys[name] for name in names], np.int64)
        parts.append(
            (batch.column("index").to_numpy(), _bytes(batch.column("id")), _bytes(batch.column("row")), table[codes])
        )
    if not parts:
        nothing = np.array([], np.int64)
        return Plan(0, 0, 0, 0, len(done_rows), nothing, nothing, nothing, nothing, ())
    numbers, ids, rows, cells = (np.concatenate(column) for column in zip(*parts, strict=True))
    return _order(numbers, ids, rows, cells, _bytes(done_rows), _bytes(done_ids), _bytes(held), list(keys), sizes)


def _order(
    numbers: NDArray[np.int64],
    ids: NDArray[np.bytes_],
    rows: NDArray[np.bytes_],
    cells: NDArray[np.int64],
    done_rows: NDArray[np.bytes_],
    done_ids: NDArray[np.bytes_],
    held: NDArray[np.bytes_],
    keys: list[str],
    sizes: list[int],
) -> Plan:
    _, first = np.unique(rows, return_index=True)
    first.sort()
    duplicates = len(rows) - len(first)
    retired = int(np.count_nonzero(~np.isin(done_rows, rows)))
    numbers, ids, rows, cells = numbers[first], ids[first], rows[first], cells[first]
    finished = np.isin(rows, done_rows)
    there = ~finished & np.isin(ids, done_ids)
    recorded = numbers[there]
    waiting = ~finished & ~there & np.isin(rows, held)
    left = ~finished & ~there & ~waiting
    numbers, ids, cells = numbers[left], ids[left], cells[left]
    _, leader, twin = np.unique(ids, return_index=True, return_inverse=True)
    head = leader[twin]
    order = np.lexsort((numbers, head, cells))
    numbers, cells, head = numbers[order], cells[order], head[order]
    changed = np.diff(head, prepend=-1) != 0
    running = np.cumsum(changed)
    starts = np.diff(cells, prepend=-1) != 0
    base = np.maximum.accumulate(np.where(starts, running, 0))
    kinds = tuple(
        Cell(key, sizes[code], int(np.count_nonzero(cells == code)), int(np.count_nonzero(changed & (cells == code))))
        for code, key in enumerate(keys)
    )
    return Plan(
        len(rows),
        duplicates,
        int(finished.sum()),
        int(waiting.sum()),
        retired,
        recorded,
        numbers,
        running - base,
        cells,
        kinds,
    )


def colliding(batches: Iterable[pa.RecordBatch]) -> list[tuple[int, int]]:
    """Numbers of rows with different ids whose file names are one, case folded."""
    numbers, names, ids = [], [], []
    for batch in batches:
        numbers.append(batch.column("index").to_numpy())
        folded = [path.casefold() for path in batch.column("path").to_pylist()]
        names.append(np.fromiter((hash(path) for path in folded), np.int64, len(folded)))
        ids.append(_bytes(batch.column("id")))
    if not numbers:
        return []
    number, name, identity = np.concatenate(numbers), np.concatenate(names), np.concatenate(ids)
    order = np.argsort(name, kind="stable")
    same = (name[order][1:] == name[order][:-1]) & (identity[order][1:] != identity[order][:-1])
    return [(int(number[order[at]]), int(number[order[at + 1]])) for at in np.flatnonzero(same).tolist()]


def _bytes(column: pa.Array) -> NDArray[np.bytes_]:
    """Hex keys as fixed-width bytes, which numpy sorts and compares without Python objects."""
    if len(column) == 0:
        return np.array([], "S20")
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    plain = pc.cast(column, pa.string())
    if pc.min(pc.binary_length(plain)).as_py() == pc.max(pc.binary_length(plain)).as_py() == 20:
        fixed = pc.cast(pc.cast(plain, pa.binary()), pa.binary(20))
        return np.frombuffer(fixed.buffers()[1], "S20", len(fixed), fixed.offset * 20)
    return np.array(plain.to_pylist(), "S20")
