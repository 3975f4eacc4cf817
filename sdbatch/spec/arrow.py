"""Arrow columns out of what is in memory already: `pa.array` imports pandas, which takes half a second."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def numbers(values: NDArray[Any]) -> pa.Array:
    """A column of a numpy array's type and memory."""
    return pa.Array.from_buffers(
        pa.from_numpy_dtype(values.dtype), len(values), [None, pa.py_buffer(np.ascontiguousarray(values))]
    )


def binary(raw: bytes, kind: pa.FixedSizeBinaryType) -> pa.Array:
    """A column of values of one width that stand one after the other."""
    return pa.Array.from_buffers(kind, len(raw) // kind.byte_width, [None, pa.py_buffer(raw)])


def texts(values: Sequence[str]) -> pa.Array:
    """A column of texts, none of them missing."""
    parts = [value.encode() for value in values]
    ends = np.cumsum([0, *map(len, parts)])
    if ends[-1] >= 2**31:
        raise ValueError("more than 2 GiB of text in one column")
    buffers = [None, pa.py_buffer(ends.astype(np.int32)), pa.py_buffer(b"".join(parts))]
    return pa.Array.from_buffers(pa.string(), len(parts), buffers)


def dictionary(values: Sequence[str], places: NDArray[np.int64]) -> pa.Array:
    """A column of texts, each stored once."""
    return pa.DictionaryArray.from_arrays(numbers(places), texts(values))


def values(column: pa.Array) -> NDArray[Any]:
    """The numbers of a column in which none is missing; not `to_numpy`, which imports pandas as well."""
    kind = np.dtype(column.type.to_pandas_dtype())
    return np.frombuffer(column.buffers()[1], kind)[column.offset : column.offset + len(column)]


def column(batches: Iterable[pa.RecordBatch], name: str) -> pa.Array:
    """One column of all batches, texts."""
    return pa.concat_arrays([pa.nulls(0, pa.string()), *(batch.column(name) for batch in batches)])
