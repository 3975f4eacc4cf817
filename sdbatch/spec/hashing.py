"""The hashing of many rows, which is also a process of its own: `python -I -S hashing.py`.

A row's text is what all rows of a batch share, what many of them share, and what few or none do: the first two are
hashed once. Nothing but the standard library is imported, so that a process is there within some 20 ms. It reads
tasks from standard input, each after its length, and writes their digests; it ends with its input.
"""

from __future__ import annotations

import hashlib
import marshal
import signal
import sys
from array import array
from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeVar

DIGEST_BYTES = 10
LENGTH_BYTES = 8
CODE = "I"
"""How places are packed: as `array` has it."""

Spread = tuple[list[bytes], bytes | None]
"""Different texts, and which one each row has, packed; None where all have the only one."""

Value = TypeVar("Value")


class Work(NamedTuple):
    """What the digests of a batch are made of.

    Attributes:
        head: what all rows share.
        middle, tail: what comes after it.
        lines: what comes after the id in a row key; None where row keys are not asked for.
        rows: how many there are.
    """

    head: bytes
    middle: Spread
    tail: Spread
    lines: Spread | None
    rows: int


def digests(work: Work) -> bytes:
    """The ids of a batch, ten bytes each, and its row keys after them where they are asked for."""
    middles, tails = work.middle[0], work.tail[0]
    if len(middles) == len(tails) == 1:
        ids = hashlib.blake2b(work.head + middles[0] + tails[0], digest_size=DIGEST_BYTES).digest() * work.rows
    else:
        base = hashlib.blake2b(work.head, digest_size=DIGEST_BYTES)
        states = _spread([_begun(base, text) for text in middles], work.middle[1], work.rows)
        ids = _ended(states, _spread(tails, work.tail[1], work.rows))
    return ids if work.lines is None else ids + _line_keys(ids.hex(), work.lines, work.rows)


def _ended(states: Iterable[Callable[[], hashlib.blake2b]], tails: Iterable[bytes]) -> bytes:
    found = []
    for begun, tail in zip(states, tails, strict=True):
        state = begun()
        state.update(tail)
        found.append(state.digest())
    return b"".join(found)


def _begun(base: hashlib.blake2b, text: bytes) -> Callable[[], hashlib.blake2b]:
    state = base.copy()
    state.update(text)
    return state.copy


def _spread(values: list[Value], codes: bytes | None, count: int) -> list[Value]:
    return [values[0]] * count if codes is None else list(map(values.__getitem__, array(CODE, codes)))


def _line_keys(text: str, lines: Spread, count: int) -> bytes:
    step = 2 * DIGEST_BYTES
    states = [_begun(hashlib.blake2b(b'["', digest_size=DIGEST_BYTES), b"")] * count
    tails = _spread([b'",' + tail for tail in lines[0]], lines[1], count)
    return _ended(states, [text[at * step : (at + 1) * step].encode() + tail for at, tail in enumerate(tails)])


def main() -> None:
    """Answer tasks until there are no more; an interruption is the parent's to deal with."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    source, target = sys.stdin.buffer, sys.stdout.buffer
    while len(length := source.read(LENGTH_BYTES)) == LENGTH_BYTES:
        task = marshal.loads(source.read(int.from_bytes(length, "little")))
        target.write(digests(Work(*task)))
        target.flush()


if __name__ == "__main__":
    main()
