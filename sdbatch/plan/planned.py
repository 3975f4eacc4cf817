"""What is left to do, in which order and in which leases; and what it will take."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sdbatch.types import Lease, Row

LEASE_BATCHES = 16
LEASES_A_WORKER = 4


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
