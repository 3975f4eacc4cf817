"""Numbers in a row: evenly spaced, or drawn from a text."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator


def linspace(start: float, stop: float, count: int) -> list[float]:
    """`count` evenly spaced numbers with both ends, bit for bit as numpy.linspace makes them."""
    if count == 1:
        return [start]
    step = (stop - start) / (count - 1)
    return [*(at * step + start for at in range(count - 1)), stop]


def draws(text: str, many: int, count: int) -> list[int]:
    """`count` different numbers below `many`, the same for a text each time: the first of a longer draw."""
    found: dict[int, None] = {}
    for block in _blocks(text):
        for number in block:
            found.setdefault(number % many)
            if len(found) == count:
                return list(found)
    raise AssertionError("blocks never end")


def _blocks(text: str) -> Iterator[tuple[int, ...]]:
    state = hashlib.blake2b(b"sdbatch-random-1\0" + text.encode())
    counter = 0
    while True:
        block = state.copy()
        block.update(struct.pack("<Q", counter))
        yield struct.unpack("<16I", block.digest())
        counter += 1
