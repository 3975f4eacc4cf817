"""What is left to do, in which order and in which leases; and what it will take."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sdbatch.types import Lease, Row

LEASE_BATCHES = 4
"""Batches of a lease as long as nothing is known of how long they take."""
LEASES_A_WORKER = 4
"""At least so many leases are left for each worker, on average, until they are single batches."""


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

    def only(self, numbers: NDArray[np.int64]) -> Plan:
        """The same plan with these rows alone left to do.

        Args:
            numbers: of rows, ascending.
        """
        kept = np.isin(self.order, numbers)
        begins, kinds, start = [np.array([], np.bool_)], [], 0
        for cell in self.kinds:
            here = slice(start, start + cell.rows)
            picture = np.cumsum(self.begins[here])[kept[here]]
            first = np.diff(picture, prepend=0) > 0
            begins.append(first)
            kinds.append(replace(cell, rows=len(picture), pictures=int(first.sum())))
            start += cell.rows
        recorded = self.recorded[np.isin(self.recorded, numbers)]
        order, whole = self.order[kept], np.concatenate(begins)
        return replace(self, order=order, begins=whole, kinds=tuple(kinds), recorded=recorded)

    def leases(
        self,
        take: Callable[[Sequence[int]], list[Row]],
        workers: int,
        *,
        alone: frozenset[str] = frozenset(),
        most: int | None = None,
        batches: Callable[[int], tuple[int, int]] = lambda cell: (1, LEASE_BATCHES),
    ) -> Iterator[Lease]:
        """Cut the rows left into leases, making the rows of each when it is asked for.

        A lease holds whole batches of one cell. With several workers leases become smaller towards the end, so that
        all end at about the same time: guided self-scheduling (Polychronopoulos and Kuck, 1987, with a quarter).

        Args:
            alone: ids of pictures under which a worker may have died: last, and each in a lease of its own.
            most: how many rows there are to be in all; None is all.
            batches: the least and the most batches of a lease of a cell, by its number; asked as each lease is
                cut. With 0 the leases are at an end.
        """
        room = len(self.order) if most is None else most
        for number, (cell, count, rows) in enumerate(self._shares(take, workers, alone, batches)):
            if room <= 0:
                return
            yield Lease(number, rows[:room], cell=cell, batches=count)
            room -= len(rows)

    def _shares(
        self,
        take: Callable[[Sequence[int]], list[Row]],
        workers: int,
        alone: frozenset[str],
        batches: Callable[[int], tuple[int, int]],
    ) -> Iterator[tuple[int, int, tuple[Row, ...]]]:
        feared: dict[str, tuple[int, list[Row]]] = {}
        whole = left = self.batches
        for number, cell, here in self._in_turn():
            starts = np.flatnonzero(self.begins[here]) + here.start
            at = 0
            while at < len(starts):
                share = -(-(left if workers > 1 else whole) // (workers * LEASES_A_WORKER))
                least, most = batches(number)
                if most < 1:
                    return
                count = min(max(least, min(most, share)), -(-(len(starts) - at) // cell.size))
                first, at, left = int(starts[at]), at + count * cell.size, left - count
                rows = take(self.order[first : int(starts[at]) if at < len(starts) else here.stop].tolist())
                for row in rows:
                    if row.id in alone:
                        feared.setdefault(row.id, (number, []))[1].append(row)
                if calm := tuple(row for row in rows if row.id not in alone):
                    yield number, count, calm
        yield from ((number, 1, tuple(rows)) for number, rows in feared.values())

    def _in_turn(self) -> list[tuple[int, Cell, slice]]:
        """The cells that have rows left, by number; those that need the same model and fine-tunes one after the other.

        So a worker loads each model once, whichever axis comes first in the spec.
        """
        turns: dict[str, dict[str, list[tuple[int, Cell, slice]]]] = {}
        start = 0
        for number, cell in enumerate(self.kinds):
            model, beside = json.loads(cell.key)[:2]
            if cell.rows:
                alike = turns.setdefault(model, {}).setdefault(json.dumps(beside), [])
                alike.append((number, cell, slice(start, start + cell.rows)))
            start += cell.rows
        return [one for groups in turns.values() for group in groups.values() for one in group]
