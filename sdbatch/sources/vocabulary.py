"""CLIP's byte-pair vocabulary, which checkpoints in the original layout leave out."""

from __future__ import annotations

import functools
import lzma
from itertools import chain
from pathlib import Path

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
_MERGES = CONFIGS / "clip" / "merges.txt.xz"
_SPECIAL = ("<|startoftext|>", "<|endoftext|>")


@functools.cache
def merges() -> list[tuple[str, str]]:
    """The 48,894 merges, in their order."""
    lines = lzma.decompress(_MERGES.read_bytes()).decode().splitlines()
    return [(first, second) for first, second in (line.split(" ") for line in lines)]


@functools.cache
def vocabulary() -> dict[str, int]:
    """Token → id, 49,408 of them: the 256 bytes, the same at a word's end, the merges, start and end of text."""
    letters = byte_letters()
    tokens = chain(letters, (f"{letter}</w>" for letter in letters), map("".join, merges()), _SPECIAL)
    return {token: number for number, token in enumerate(tokens)}


def byte_letters() -> list[str]:
    """The letter that stands for each byte, as byte-level BPE orders them.

    Bytes that are printable in Latin-1 come first and stand for themselves; the 68 others follow in
    order and take the code points from 256 on.
    """
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = 256 - len(printable)
    return [chr(code) for code in (*printable, *range(256, 256 + others))]
