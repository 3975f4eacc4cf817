"""The header of a safetensors file: which tensors it holds, of which shapes; no weights are read."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LONGEST = 100_000_000
"""Bytes; the format's own bound on a header."""
_BYTES = {"F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2,
          "I8": 1, "U8": 1, "BOOL": 1, "F8_E4M3": 1, "F8_E5M2": 1}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Header:
    """What a safetensors file says of itself.

    Attributes:
        shapes: of each tensor, by name.
        metadata: texts that the file's maker left.
        start: where the tensors begin, in bytes from the file's begin.
    """

    shapes: Mapping[str, tuple[int, ...]]
    metadata: Mapping[str, str]
    start: int


def read(path: Path) -> Header:
    """Read and check a file's header: 8 bytes of length, little-endian, and JSON.

    Raises:
        ValueError: it is not a whole safetensors file; the text says why.
        OSError: it cannot be read.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        first = file.read(8)
        length = struct.unpack("<Q", first)[0] if len(first) == 8 else 0
        if not 2 <= length <= LONGEST or (length > size - 8 and first[:2] == b"PK"):
            raise ValueError("not a safetensors file")
        if length > size - 8:
            raise ValueError("not a safetensors file, or a torn one: its header is longer than the file")
        text = file.read(length)
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError("not a safetensors file: its header is not JSON") from error
    if not isinstance(entries, dict):
        raise ValueError("not a safetensors file: its header is not a JSON object")
    metadata = entries.pop("__metadata__", None)
    texts = metadata.items() if isinstance(metadata, dict) else ()
    shapes = {name: _shape(name, entry, size - 8 - length) for name, entry in entries.items()}
    return Header(shapes, {key: value for key, value in texts if isinstance(value, str)}, 8 + length)


def _shape(name: str, entry: Any, room: int) -> tuple[int, ...]:
    """A tensor's shape, once its bytes are known to be in the file."""
    try:
        shape = tuple(entry["shape"])
        begin, end = entry["data_offsets"]
        wanted = _BYTES[entry["dtype"]]
        for side in shape:
            wanted *= side
        sound = all(type(number) is int and number >= 0 for number in (*shape, begin, end))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"not a safetensors file: its header does not describe {name!r}") from error
    if not sound or end - begin != wanted:
        raise ValueError(f"not a safetensors file: its header contradicts itself about {name!r}")
    if end > room:
        raise ValueError(f"torn: it ends before {name!r} does")
    return shape
