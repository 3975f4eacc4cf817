"""Pixels to a PNG file, some twenty times as fast as zlib's search and Pillow's filters, and not much larger.

One filter serves the whole picture, so that numpy does it in a few passes, and ISA-L compresses it (`igzip`, level 1).
Where that leaves most on the table, in pictures that are small or nearly flat, zlib soon does them again.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray
from PIL.PngImagePlugin import PngInfo

SIGNATURE = b"\x89PNG\r\n\x1a\n"
SMALL = 2**16
"""Pictures of up to this many bytes are small."""
FLAT = 6
"""Pictures that shrink by more than this factor are flat; photographs do not."""

_GREY, _RGB = 0, 2
_NONE, _UP, _AVERAGE = 0, 2, 3
_LONGEST = 2**31 - 1  # bytes in a chunk
_SAMPLED = 16  # rows
_BLOCK = 2**15  # bytes that stay in the nearest cache; fresh memory costs more than the sums that are put there


def encode(pixels: NDArray[Any], texts: Mapping[str, str] | None = None) -> bytes:
    """The bytes of a PNG file; the same for the same pixels and texts, on one kind of CPU.

    Args:
        pixels: (h, w, 3) uint8 RGB, or (h, w) uint8 or uint16 grey.
        texts: by keyword, in Latin-1 of 1 to 79 bytes; tEXt, or iTXt for text outside Latin-1.

    Raises:
        ValueError: pixels are of another shape or dtype.
    """
    rows, width, step = _rows(pixels)
    info = PngInfo()
    for keyword, text in (texts or {}).items():
        info.add_text(keyword, text)
    depth, colour = 8 * pixels.dtype.itemsize, _GREY if pixels.ndim == 2 else _RGB
    header = struct.pack(">IIBBBBB", width, len(rows), depth, colour, 0, 0, 0)
    data = _deflated(rows, step)
    pieces = [data[start : start + _LONGEST] for start in range(0, len(data), _LONGEST)]
    chunks = [(b"IHDR", header), *((kind, content) for kind, content, *_ in info.chunks)]
    chunks += [*((b"IDAT", piece) for piece in pieces), (b"IEND", b"")]
    return SIGNATURE + b"".join(part for kind, content in chunks for part in _chunk(kind, content))


def _rows(pixels: NDArray[Any]) -> tuple[NDArray[np.uint8], int, int]:
    """(h, bytes a row) uint8, big-endian; pixels a row; bytes a pixel."""
    grey = pixels.ndim == 2 and pixels.dtype.kind == "u" and pixels.dtype.itemsize <= 2  # in any order of bytes
    rgb = pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.dtype == np.uint8
    if not (grey or rgb) or 0 in pixels.shape:
        raise ValueError(f"a PNG holds (h, w, 3) uint8, or (h, w) uint8 or uint16, not {pixels.shape} {pixels.dtype}")
    height, width = pixels.shape[:2]
    whole = np.ascontiguousarray(pixels, dtype=f">u{pixels.dtype.itemsize}")
    rows = whole.reshape(height, -1).view(np.uint8)
    return rows, width, rows.shape[1] // width


def _chunk(kind: bytes, content: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    check = isal_zlib.crc32(content, isal_zlib.crc32(kind))
    return struct.pack(">I", len(content)), kind, content, struct.pack(">I", check)


def _deflated(rows: NDArray[np.uint8], step: int) -> bytes:
    filtered = _average(rows, step) if _average_is_better(rows, step) else _up(rows)
    data = _fast(filtered)
    if rows.size > SMALL and len(data) * FLAT >= rows.size:
        return data
    # A longer search pays here, and what it searches is soon passed. Flat colours are often better as they are.
    plain = _plain(rows)
    if len(_fast(plain)) < len(data):
        filtered = plain
    return min(data, zlib.compress(filtered.data, 6), key=len)


def _fast(filtered: NDArray[np.uint8]) -> bytes:
    return bytes(isal_zlib.compress(filtered.data, 1))


def _average_is_better(rows: NDArray[np.uint8], step: int) -> bool:
    """Whether what the filter Average leaves is smaller by an eighth than what Up leaves, in some of the rows."""
    below = np.arange(1, len(rows), max(1, len(rows) // _SAMPLED))
    here, left, above = rows[below, step:], rows[below, :-step], rows[below - 1, step:]
    return 8 * _size(here - _mean(left, above)) < 7 * _size(here - above)


def _size(differences: NDArray[np.uint8]) -> int:
    return int(np.minimum(differences, -differences).sum(dtype=np.int64))


def _mean(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Half the sum, rounded down, without its ninth bit."""
    mean = one ^ other
    mean >>= 1
    mean += one & other
    return mean


# --- Filters: (h, n) to (h, 1 + n), the filter's number first (PNG specification, 9.2) ---


def _room(rows: NDArray[np.uint8], number: int) -> NDArray[np.uint8]:
    height, length = rows.shape
    filtered = np.empty((height, 1 + length), np.uint8)
    filtered[:, 0] = number
    return filtered


def _plain(rows: NDArray[np.uint8]) -> NDArray[np.uint8]:
    filtered = _room(rows, _NONE)
    filtered[:, 1:] = rows
    return filtered


def _up(rows: NDArray[np.uint8]) -> NDArray[np.uint8]:
    filtered = _room(rows, _UP)
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    return filtered


def _average(rows: NDArray[np.uint8], step: int) -> NDArray[np.uint8]:
    filtered = _room(rows, _AVERAGE)
    out = filtered[:, 1:]
    # What lies outside the picture counts as 0.
    out[0, :step] = rows[0, :step]
    np.subtract(rows[0, step:], rows[0, :-step] >> 1, out=out[0, step:])
    np.subtract(rows[1:, :step], rows[:-1, :step] >> 1, out=out[1:, :step])
    some = max(1, _BLOCK // rows.shape[1])
    for start in range(1, len(rows), some):
        here, above = rows[start : start + some], rows[start - 1 : start - 1 + some]
        np.subtract(
            here[:, step:], _mean(here[:, :-step], above[: len(here), step:]), out=out[start : start + some, step:]
        )
    return filtered
