"""Rows and what is done → a plan: without what is there, rows alike together, cell after cell.

Rows and lines of the manifest are parted by their ids, so that whatever is asked of a row is answered within its part:
a row key holds the id, so that rows alike in everything are alike in id too. A row is kept as its number and its
digests, and what is left of it in the end is its cell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sdbatch.plan.ordering import Left
from sdbatch.plan.planned import Cell, Plan
from sdbatch.plan.runs import ROOM, Columns, Runs, parts
from sdbatch.spec import arrow
from sdbatch.spec.digests import Digests

ROWS_A_PART = 1 << 20

Lines = tuple[Digests, Digests]
"""Ids and row keys of lines."""


@dataclass(frozen=True)
class Known:
    """What a directory holds.

    Attributes:
        done: the manifest's lines, a few at a time.
        held: rows that are not to be tried.
        lost: ids of pictures that cannot stand for another row.
    """

    done: Iterable[Lines] = ()
    held: Iterable[Lines] = ()
    lost: Digests = field(default_factory=lambda: Digests.of_bytes(b""))


def make(
    batches: Iterable[pa.RecordBatch],
    count: int,
    size: Callable[[str, int, int], int],
    known: Known | None = None,
    *,
    each: int = ROWS_A_PART,
    room: int = ROOM,
) -> Plan:
    """Take out what is done, find rows alike, group by batch key.

    Args:
        batches: as `spec.grid.Rows` gives them; where they have no row keys, ids stand for them, in `known` too.
        count: the rows' numbers are below it.
        size: (batch key, width, height) → batch shape.
        each: about how many rows are looked at together.
        room: bytes of rows that are kept in memory; the others wait in a temporary file.

    Raises:
        StoreError: the temporary file cannot be written, or what `known` reads cannot be read.
    """
    known = known or Known()
    cells = _Cells(size)
    left = Left(count, each)
    found = _Counts()
    number = parts(count, each)
    with Runs(room) as runs:
        for batch in batches:
            numbers = arrow.values(batch.column("index")).astype(np.uint32)
            left.put(numbers, cells.of(batch))
            ids = Digests.of(batch.column("id"))
            rows = Digests.of(batch.column("row")) if "row" in batch.schema.names else None
            runs.push("rows", _places(ids, number), {"number": numbers, **_columns(ids, rows)})
        for kind, lines in (("done", known.done), ("held", known.held)):
            for ids, keys in lines:
                runs.push(kind, _places(ids, number), _columns(ids, None if keys is ids else keys))
        for part in range(number):
            done, held = (_lines(runs.pull(kind, part)) for kind in ("done", "held"))
            if (rows_here := runs.pull("rows", part)) is None:
                found.retired += len(done[0])
            else:
                _settle(rows_here, done, held, known.lost, left, found, runs)
        order, begins, kinds = left.ordered(cells.kinds, runs)
    recorded = np.sort(np.concatenate([np.array([], np.int64), *found.recorded]))
    return Plan(found.rows, found.duplicates, found.done, found.held, found.retired, recorded, order, begins, kinds)


@dataclass
class _Counts:
    rows: int = 0
    duplicates: int = 0
    done: int = 0
    held: int = 0
    retired: int = 0
    recorded: list[NDArray[np.int64]] = field(default_factory=list)


class _Cells:
    """The batch keys, numbered as they come."""

    def __init__(self, size: Callable[[str, int, int], int]) -> None:
        self._size = size
        self._places: dict[str, int] = {}
        self.kinds: list[Cell] = []

    def of(self, batch: pa.RecordBatch) -> NDArray[np.int64]:
        """Which cell each row of a batch is of."""
        key = batch.column("key")
        if not isinstance(key, pa.DictionaryArray):
            key = key.dictionary_encode()
        codes = arrow.values(key.indices)
        first = np.zeros(len(key.dictionary), np.int64)
        first[codes[::-1]] = np.arange(len(codes) - 1, -1, -1)  # of a place written twice the last one stays
        table = np.zeros(len(key.dictionary), np.int64)
        for code, name in enumerate(key.dictionary.to_pylist()):
            if name not in self._places:
                self._places[name] = len(self.kinds)
                width, height = (batch.column(side)[int(first[code])].as_py() for side in ("width", "height"))
                self.kinds.append(Cell(name, self._size(name, width, height), 0, 0))
            table[code] = self._places[name]
        found: NDArray[np.int64] = table[codes]
        return found


def _places(ids: Digests, number: int) -> NDArray[Any] | int:
    return 0 if number == 1 else _small(ids.high & np.uint64(number - 1), number)


def _small(places: NDArray[Any], number: int) -> NDArray[Any]:
    """Places below `number` in the type that is sorted fastest."""
    return places.astype(np.uint8 if number <= 256 else np.uint16)


def _columns(ids: Digests, rows: Digests | None) -> Columns:
    found: Columns = {"high": ids.high, "low": ids.low}
    return found if rows is None else {**found, "row_high": rows.high, "row_low": rows.low}


def _lines(columns: Columns | None) -> Lines:
    """Ids and row keys, the same object where ids stand for row keys."""
    if columns is None:
        nothing = Digests.of_bytes(b"")
        return nothing, nothing
    ids = Digests(columns["high"], columns["low"])
    return ids, Digests(columns["row_high"], columns["row_low"]) if "row_high" in columns else ids


def _settle(columns: Columns, done: Lines, held: Lines, lost: Digests, left: Left, found: _Counts, runs: Runs) -> None:
    """What becomes of the rows of one part."""
    numbers, (ids, rows) = columns["number"], _lines(columns)
    one = rows is ids
    if not np.all(numbers[1:] > numbers[:-1]):
        order = np.argsort(numbers)
        numbers, ids = numbers[order], ids[order]
        rows = ids if one else rows[order]
    found.retired += int(np.count_nonzero(~done[1].among(rows)))
    at, heads = rows.heads()
    twice = np.zeros(len(numbers), bool)
    twice[at[at != heads]] = True  # alike in everything
    finished = ~twice & rows.among(done[1])
    found.duplicates += int(twice.sum())
    found.rows += len(numbers) - int(twice.sum())
    found.done += int(finished.sum())
    if (out := twice | finished).any():
        left.drop(numbers[out])
        numbers, ids, rows = numbers[~out], ids[~out], rows[~out]
    there = ids.among(done[0])
    if len(lost) and there.any():
        there &= ~ids.among(lost)
    waiting = ~there & rows.among(held[1])
    found.held += int(waiting.sum())
    if (out := there | waiting).any():
        found.recorded.append(numbers[there].astype(np.int64))
        left.drop(numbers[out])
        numbers, ids = numbers[~out], ids[~out]
    if not one:  # where ids tell rows apart, none are alike any more
        at, heads = ids.heads()
        follow = at != heads
        left.join(numbers[at[follow]], numbers[heads[follow]], runs)


def colliding(
    batches: Iterable[pa.RecordBatch], count: int, *, each: int = ROWS_A_PART, room: int = ROOM
) -> list[tuple[int, int]]:
    """Numbers of rows with different ids whose file names are one, case folded.

    Args:
        count, each, room: as of `make`.

    Raises:
        StoreError: the temporary file cannot be written.
    """
    number = parts(count, each)
    found: list[tuple[int, int]] = []
    with Runs(room) as runs:
        for batch in batches:
            folded = [path.casefold() for path in batch.column("path").to_pylist()]
            names = np.fromiter((hash(path) for path in folded), np.int64, len(folded))
            numbers = arrow.values(batch.column("index")).astype(np.uint32)
            places = 0 if number == 1 else _small(names & (number - 1), number)
            ids = _columns(Digests.of(batch.column("id")), None)
            runs.push("names", places, {"number": numbers, "name": names, **ids})
        for part in range(number):
            if (columns := runs.pull("names", part)) is not None:
                found += _one_name(columns)
    return found


def _one_name(columns: Columns) -> list[tuple[int, int]]:
    order = np.lexsort((columns["number"], columns["name"]))
    number, name, high, low = (columns[key][order] for key in ("number", "name", "high", "low"))
    same = (name[1:] == name[:-1]) & ((high[1:] != high[:-1]) | (low[1:] != low[:-1]))
    return [(int(number[at]), int(number[at + 1])) for at in np.flatnonzero(same).tolist()]
