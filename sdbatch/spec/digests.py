"""Ids and row keys of many rows as numbers: ten bytes each, sorted and looked up without Python objects."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

BYTES = 10
_AT_ONCE = 1 << 18
_DIGEST = re.compile(f"[0-9a-f]{{{2 * BYTES}}}")
_NO_DIGIT = 255
_NIBBLES = np.full(256, _NO_DIGIT, np.uint8)
_NIBBLES[np.frombuffer(b"0123456789abcdef", np.uint8)] = np.arange(16)


@dataclass(frozen=True)
class Digests:
    """Digests of n rows.

    Attributes:
        high: (n,) uint64, the first eight bytes: they alone nearly always tell two apart.
        low: (n,) uint16, the last two.
    """

    high: NDArray[np.uint64]
    low: NDArray[np.uint16]

    @classmethod
    def of(cls, column: pa.Array | pa.ChunkedArray) -> Digests:
        """Read a column of binary(10), or of hex text; a text that is no digest is like that text alone."""
        if isinstance(column, pa.ChunkedArray):
            column = column.combine_chunks()
        if not len(column):
            return cls.of_bytes(b"")
        if pa.types.is_fixed_size_binary(column.type):
            start = column.offset * BYTES
            return cls.of_bytes(memoryview(column.buffers()[1])[start : start + len(column) * BYTES])
        offsets = np.frombuffer(column.buffers()[1], np.int32)[column.offset : column.offset + len(column) + 1]
        digits = _NIBBLES[np.frombuffer(column.buffers()[2] or b"", np.uint8)[offsets[0] : offsets[-1]]]
        if np.any(np.diff(offsets) != 2 * BYTES) or np.any(digits == _NO_DIGIT):
            return cls.of_bytes(b"".join(_stand_in(text) for text in column.to_pylist()))
        return cls.of_bytes((digits[::2] << 4 | digits[1::2]).tobytes())

    @classmethod
    def of_bytes(cls, raw: bytes | memoryview) -> Digests:
        """Read digests that stand one after the other."""
        table = np.frombuffer(raw, np.uint8).reshape(-1, BYTES)
        high, low = np.ascontiguousarray(table[:, :8]), np.ascontiguousarray(table[:, 8:])
        return cls(high.view(np.uint64).reshape(-1), low.view(np.uint16).reshape(-1))

    def __len__(self) -> int:
        return len(self.high)

    def __getitem__(self, picks: NDArray[np.bool_] | NDArray[np.int64]) -> Digests:
        return Digests(self.high[picks], self.low[picks])

    def texts(self) -> list[str]:
        """The digests as hex texts."""
        halves = [half.view(np.uint8).reshape(len(self), -1) for half in (self.high, self.low)]
        text = np.concatenate(halves, axis=1).tobytes().hex()
        return [text[at : at + 2 * BYTES] for at in range(0, len(text), 2 * BYTES)]

    @cached_property
    def _order(self) -> NDArray[np.int64]:
        return np.argsort(self.high)

    @cached_property
    def _inorder(self) -> NDArray[np.uint64]:
        return self.high[self._order]

    def among(self, others: Digests) -> NDArray[np.bool_]:
        """Which of these are among the others."""
        found = np.zeros(len(self), bool)
        if not len(others) or not len(self):
            return found
        high, low = others._inorder, others.low[others._order]
        for part in _parts(len(self)):
            mine = self._order[part]
            own_high, own_low = self._inorder[part], self.low[mine]
            at = np.searchsorted(high, own_high)  # both are in order, so that it reads what it read just before
            open_ = np.flatnonzero(at < len(high))
            at = at[open_]
            while len(open_):  # as long as first halves agree: once, but for lines that repeat
                alike = high[at] == own_high[open_]
                same = alike & (low[at] == own_low[open_])
                found[mine[open_[same]]] = True
                on = alike & ~same & (at + 1 < len(high))
                open_, at = open_[on], at[on] + 1
        return found

    def heads(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Where a digest stands more than once: its places, and the first place of each one's digest."""
        high = np.sort(self.high)  # a few times as fast as to find the order, which most often is not needed
        if not np.any(high[1:] == high[:-1]):
            return np.array([], np.int64), np.array([], np.int64)
        twice = np.zeros(len(high) + 1, bool)
        twice[1:-1] = high[1:] == high[:-1]
        at = np.sort(self._order[twice[1:] | twice[:-1]])
        at = at[np.lexsort((at, self.low[at], self.high[at]))]
        own = self[at]
        new = np.ones(len(at), bool)
        new[1:] = (own.high[1:] != own.high[:-1]) | (own.low[1:] != own.low[:-1])
        return at, at[np.flatnonzero(new)[np.cumsum(new) - 1]]


def joined(parts: Sequence[Digests]) -> Digests:
    """One after the other."""
    return Digests(np.concatenate([part.high for part in parts]), np.concatenate([part.low for part in parts]))


def _parts(count: int) -> Iterator[slice]:
    for start in range(0, count, _AT_ONCE):
        yield slice(start, min(start + _AT_ONCE, count))


def _stand_in(text: str | None) -> bytes:
    if text is not None and _DIGEST.fullmatch(text):
        return bytes.fromhex(text)
    return hashlib.blake2b(repr(text).encode(), digest_size=BYTES).digest()
