"""`id` and `row`: which picture a row is, and which line.

An id is blake2b-80 over `sdbatch-id-1` and, sorted by name, one line `name=value` for each
parameter that the row's mode uses and that differs from its default. A value is JSON with sorted
keys, no spaces and every number in one form, so that 4 and 4.0 are one. Models stand by content
hash. Golden ids in the tests hold this.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

from sdbatch.spec.hashing import DIGEST_BYTES

VERSION = b"sdbatch-id-1\n"


def canonical(value: Any) -> str:
    """One text for a value, however it was written.

    Raises:
        ValueError: a number is NaN or infinite.
    """
    if type(value) is int:
        return str(value)
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return json.dumps(_plain(value), ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)


def line(name: str, value: Any) -> bytes:
    """A parameter's share of an id."""
    return f"{name}={canonical(value)}\n".encode("utf-8", "surrogatepass")


def picture_id(values: Mapping[str, Any]) -> str:
    """The id of parameters that are used and differ from their defaults, hashes in place of names."""
    body = b"".join(line(name, values[name]) for name in sorted(values))
    return hashlib.blake2b(VERSION + body, digest_size=DIGEST_BYTES).hexdigest()


def line_tail(stage: str, fields: Mapping[str, str | None]) -> bytes:
    """What of a `row` key's text comes after the id."""
    text = canonical([stage, {name: fields[name] for name in sorted(fields)}])
    return text[1:].encode("utf-8", "surrogatepass")


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{value} is not a finite number")
        return int(value) if value == int(value) and abs(value) < 2**53 else value
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
