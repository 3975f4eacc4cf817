"""Axes crossed with one another, and the values of any row by its number."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sdbatch.parameters import PARAMETERS
from sdbatch.spec import ids
from sdbatch.spec.columns import Column, chosen, numbered
from sdbatch.spec.paths import NAMING, Move
from sdbatch.spec.schema import JobSpec

TEMPLATED = ("prompt", "negative_prompt")


class Literal(str):
    """A prompt out of a table: taken as it is, no template."""

    __slots__ = ()


@dataclass(frozen=True)
class Group:
    """Columns that advance together over `size` values; `move` rewrites the paths in a table's cells."""

    size: int
    columns: Mapping[str, Any]
    move: Move | None = None


@dataclass(frozen=True)
class Block:
    """Groups crossed with one another, the last fastest, over constants."""

    constants: Mapping[str, Any]
    groups: tuple[Group, ...] = ()

    @property
    def size(self) -> int:
        """How many rows it makes."""
        size = 1
        for group in self.groups:
            size *= group.size
        return size

    def columns(self, numbers: NDArray[np.int64]) -> dict[str, Column]:
        """The block's own columns for rows by number."""
        found = {name: Column([value]) for name, value in self.constants.items()}
        rest, counts = numbers, np.ones(len(numbers), np.int64)
        for group in reversed(self.groups):
            rest, local = np.divmod(rest, group.size)
            picks, codes = numbered(local)
            codes = codes if len(codes) == len(numbers) else np.repeat(codes, counts)
            rest, counts = _runs(rest, counts)
            for name, values in group.columns.items():
                if isinstance(values, pa.ChunkedArray):
                    cells = _cells(name, values.take(pa.array(picks)), self.constants.get(name), group.move)
                    found[name] = Column(cells, codes)
                else:
                    found[name] = Column(chosen(values, picks), codes)
        return found


def _runs(rest: NDArray[np.int64], counts: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Numbers that repeat, once for each time they do, and how many rows that is: slow axes are alike for long."""
    starts = np.flatnonzero(np.concatenate([[True], rest[1:] != rest[:-1]]))
    return rest[starts], np.add.reduceat(counts, starts)


def main_block(job: JobSpec, table: pa.Table | None) -> Block:
    """`rows` x `zip` x the axes, over the top-level values."""
    groups = []
    if table is not None:
        move = Move(job.cells_base, job.base) if job.cells_base != job.base else None
        groups.append(Group(table.num_rows, {name: table.column(name) for name in table.column_names}, move))
    if job.zip:
        groups.append(Group(len(job.zip[0].values), {axis.name: axis.values for axis in job.zip}))
    groups.extend(Group(len(axis.values), {axis.name: axis.values}) for axis in job.axes)
    return Block(dict(job.values), tuple(groups))


def _cells(name: str, column: pa.ChunkedArray, default: Any, move: Move | None) -> list[Any]:
    """A table's cells as values, paths as seen from the spec; an empty one is the top-level value."""
    cells = column.to_pylist()
    if name in TEMPLATED:
        cells = [None if cell is None else Literal(cell) for cell in cells]
    elif name in PARAMETERS and PARAMETERS[name].kind == "json":  # a table holds these as JSON text
        cells = [None if cell is None else json.loads(cell) for cell in cells]
    if move and name in NAMING:
        cells = [None if cell is None else move.value(name, cell) for cell in cells]
    return [default if cell is None else cell for cell in cells]


def matches(columns: Mapping[str, Column], entries: Sequence[Mapping[str, Any]], count: int) -> NDArray[np.bool_]:
    """Rows that agree with every key of an entry."""
    hit = np.zeros(count, bool)
    for entry in entries:
        every = np.ones(count, bool)
        for name, wanted in entry.items():
            default = PARAMETERS[name].default if name in PARAMETERS else None
            column = columns.get(name, Column([default]))
            same = np.array([_same(value, wanted) for value in column.values])
            every &= same[column.codes] if column.codes is not None else same[0]
        hit |= every
    return hit


def _same(value: Any, wanted: Any) -> bool:
    return ids.canonical(value) == ids.canonical(wanted)
