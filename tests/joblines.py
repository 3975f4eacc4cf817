"""Rows of a job as three small numbers each, for tests of planning."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence

import pyarrow as pa

from sdbatch import plan
from sdbatch.plan.making import Lines
from sdbatch.spec.digests import Digests
from sdbatch.spec.grid import SCHEMA
from sdbatch.types import Row

Line = tuple[int, int, int]
"""Of a row: its picture, its line, and which batch key the picture has."""


def hexed(*parts: int) -> str:
    """As real keys are: in no order that follows from the rows'."""
    return hashlib.blake2b(repr(parts).encode(), digest_size=10).hexdigest()


def identity(line: Line) -> str:
    """The id."""
    return hexed(line[0])


def row_key(line: Line) -> str:
    """The row key."""
    return hexed(line[0], line[1])


def batches(
    lines: Sequence[Line],
    cut: int = 10**9,
    path: Callable[[Line], str] = lambda line: f"images/{identity(line)}.png",
    key: Callable[[int], str] = lambda number: f'["model{number % 2}", {number}]',
) -> Iterable[pa.RecordBatch]:
    """Lines as `Rows.batches` gives them, `cut` a batch."""
    for start in range(0, len(lines), cut):
        part = lines[start : start + cut]
        yield pa.record_batch(
            [
                pa.array(range(start, start + len(part)), pa.int64()),
                pa.array(map(identity, part), pa.string()),
                pa.array(map(row_key, part), pa.string()),
                pa.array(map(path, part), pa.string()),
                pa.array([key(line[2]) for line in part], pa.string()),
                pa.array([64 + 8 * line[2] for line in part], pa.int32()),
                pa.array([64] * len(part), pa.int32()),
            ],
            schema=SCHEMA,
        )


def digests(lines: Iterable[Line]) -> Lines:
    """Ids and row keys of lines."""
    ids, rows = ([key(line) for line in lines] for key in (identity, row_key))
    return Digests.of(pa.array(ids, pa.string())), Digests.of(pa.array(rows, pa.string()))


def make(
    lines: Sequence[Line],
    done: Sequence[Line] = (),
    held: Sequence[Line] = (),
    lost: Sequence[Line] = (),
    size: int = 4,
    cut: int = 10**9,
    **how: int,
) -> plan.Plan:
    """A plan of lines, `cut` a batch."""
    known = plan.Known(
        (digests(done[at : at + cut]) for at in range(0, len(done), cut)), [digests(held)], digests(lost)[0]
    )
    return plan.make(batches(lines, cut), len(lines), lambda key, width, height: size, known, **how)


def taker(lines: Sequence[Line]) -> Callable[[Sequence[int]], list[Row]]:
    """Makes rows of lines by number."""

    def take(numbers: Sequence[int]) -> list[Row]:
        return [
            Row(identity(lines[at]), row_key(lines[at]), "main", "", {"number": at, "key": lines[at][2]}, {})
            for at in numbers
        ]

    return take


def singles(count: int, key: int = 0, first: int = 0) -> list[Line]:
    """Lines of different pictures."""
    return [(first + at, 0, key) for at in range(count)]
