"""Columns in which equal values are stored once, so that work is done once a value and not once a row."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

_PACKED = 2**62


class Ints(Sequence[int]):
    """Whole numbers of an axis, packed: a list of as many Python objects takes more time than what is done with them.

    Args:
        packed: (k,) int64.
    """

    __slots__ = ("packed",)

    def __init__(self, packed: NDArray[np.int64]) -> None:
        self.packed = packed

    def __len__(self) -> int:
        return len(self.packed)

    @overload
    def __getitem__(self, at: int) -> int: ...
    @overload
    def __getitem__(self, at: slice) -> Ints: ...
    def __getitem__(self, at: int | slice) -> int | Ints:
        return Ints(self.packed[at]) if isinstance(at, slice) else int(self.packed[at])

    def __iter__(self) -> Iterator[int]:
        return iter(self.packed.tolist())


def chosen(values: Sequence[Any], picks: NDArray[np.int64]) -> Sequence[Any]:
    """Some of the values; those of a range, or of packed ones, are packed."""
    if isinstance(values, Ints):
        return Ints(values.packed[picks])
    if isinstance(values, range) and values and max(abs(values[0]), abs(values[-1]), abs(values.step)) < _PACKED:
        return Ints(values.start + values.step * picks)
    return [values[pick] for pick in picks.tolist()]


@dataclass(frozen=True, slots=True)
class Column:
    """Values of n rows.

    Attributes:
        values: the different values (k of them).
        codes: (n,) int64, which value each row has; None where all rows have values[0].
    """

    values: Sequence[Any]
    codes: NDArray[np.int64] | None = None

    def at(self, row: int) -> Any:
        """The value of one row."""
        return self.values[0 if self.codes is None else self.codes[row]]

    def map(self, function: Callable[[Any], Any]) -> Column:
        """Apply a function once a value."""
        return Column([function(value) for value in self.values], self.codes)

    def bounds(self) -> tuple[Any, Any]:
        """The least and the greatest value."""
        if isinstance(self.values, Ints):
            return int(self.values.packed.min()), int(self.values.packed.max())
        return min(self.values), max(self.values)

    def spread(self, count: int) -> list[Any]:
        """The values of all rows, as a list of `count`."""
        if self.codes is None:
            return [self.values[0]] * count
        values = list(self.values)
        return [values[code] for code in self.codes.tolist()]

    def places(self, count: int) -> NDArray[np.int64]:
        """Which value each of `count` rows has."""
        return np.zeros(count, np.int64) if self.codes is None else self.codes

    def take(self, picks: NDArray[np.int64]) -> Column:
        """Some of the rows, and of the values those that they have."""
        if self.codes is None:
            return self
        codes = self.codes[picks]
        if len(codes) == len(self.codes):
            return Column(self.values, codes)
        used = np.flatnonzero(np.bincount(codes, minlength=len(self.values)))
        places = np.zeros(len(self.values), np.int64)
        places[used] = np.arange(len(used))
        return Column(chosen(self.values, used), places[codes])


def combine(columns: Sequence[Column]) -> tuple[list[tuple[Any, ...]], NDArray[np.int64] | None]:
    """The different combinations that occur, and which one each row has (None: all rows the first)."""
    varying = [(column.codes, len(column.values)) for column in columns if column.codes is not None]
    if not varying:
        return [tuple(column.values[0] for column in columns)], None
    joint, span = varying[0]
    for codes, count in varying[1:]:
        if span * count > 4 * len(joint):  # numbered anew, so that the product of many counts cannot overflow
            kinds, joint = _kinds(joint, span)
            span = len(kinds)
        joint, span = joint * count + codes, span * count
    kinds, joint = _kinds(joint, span)
    first = np.empty(len(kinds), np.int64)
    first[joint[::-1]] = np.arange(len(joint) - 1, -1, -1)  # of a place written twice the last one stays
    return list(zip(*(_chosen(column, first) for column in columns), strict=True)), joint


def numbered(numbers: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The different numbers in order, and which one each is; numbers that lie close are not sorted for it."""
    if not len(numbers):
        return numbers, numbers
    low, span = int(numbers.min()), int(numbers.max()) - int(numbers.min()) + 1
    if span == len(numbers) and bool(np.all(numbers[1:] > numbers[:-1])):
        return numbers, np.arange(span)
    kinds, places = _kinds(numbers - low if low else numbers, span)
    return kinds + low if low else kinds, places


def _kinds(numbers: NDArray[np.int64], span: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """As `numbered`, of numbers from 0 and below `span`."""
    if span > 4 * len(numbers) + 1024:
        kinds, places = np.unique(numbers, return_inverse=True)
        return kinds, places.astype(np.int64)
    there = np.zeros(span, bool)
    there[numbers] = True
    if there.all():
        return np.arange(span), numbers
    return np.flatnonzero(there), (np.cumsum(there) - 1)[numbers]


def _chosen(column: Column, rows: NDArray[np.int64]) -> list[Any]:
    return Column(column.values, None if column.codes is None else column.codes[rows]).spread(len(rows))


def merge(columns: Sequence[Column], function: Callable[..., Any]) -> Column:
    """A column made from others, one call a combination that occurs."""
    combinations, codes = combine(columns)
    return Column([function(*values) for values in combinations], codes)
