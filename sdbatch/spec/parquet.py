"""Parquet files → Arrow tables, within bounds: a few kilobytes of one may stand for terabytes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sdbatch.spec.schema import ROWS_MAX

TABLE_BYTES = 2 << 30
"""Largest table, unpacked."""
CELLS_MAX = 2**28
_STEP = 64


class Refused(ValueError):
    """A table is larger than is read, or holds bytes that are no text; `column` is the one that does, or empty."""

    def __init__(self, column: str, message: str) -> None:
        super().__init__(message)
        self.column = column


def read(path: Path, names: Sequence[str]) -> pa.Table:
    """Read columns, texts as dictionaries: what stands in the file once is in memory once.

    Raises:
        Refused: the table has more than TABLE_BYTES bytes unpacked, CELLS_MAX cells or ROWS_MAX rows, or a text
            that is not UTF-8.
        ValueError, OSError, pa.ArrowException: it is broken.
    """
    with pq.ParquetFile(path) as file:
        _check(file.metadata)
        kinds = {name: file.schema_arrow.field(name).type for name in names}
    texts = [name for name, kind in kinds.items() if _is_text(kind)]
    with pq.ParquetFile(path, read_dictionary=texts) as file:
        room = TABLE_BYTES
        for name in (name for name, kind in kinds.items() if pa.types.is_nested(kind)):
            for batch in file.iter_batches(_STEP, columns=[name]):  # a few rows of it are in memory at a time
                room = _less(room, batch.nbytes, name)
        table = file.read(list(names))
    for name in texts:
        room = _less(room, _unpacked(table.column(name)), name)
    for name in names:
        try:
            table.column(name).validate(full=True)  # Arrow itself takes any bytes for text
        except pa.ArrowInvalid as error:
            raise Refused(name, f"is broken: {error}") from error
    return table


def _check(meta: pq.FileMetaData) -> None:
    """By the file's own account; one that lies is caught page by page, each of which says its size."""
    if meta.num_rows > ROWS_MAX:
        raise Refused("", f"has {meta.num_rows:,} rows; at most {ROWS_MAX:,}")
    groups = [meta.row_group(at) for at in range(meta.num_row_groups)]
    if sum(group.total_byte_size for group in groups) > TABLE_BYTES:
        raise Refused("", f"is larger than {TABLE_BYTES >> 20:,} MiB unpacked")
    if sum(group.column(at).num_values for group in groups for at in range(group.num_columns)) > CELLS_MAX:
        raise Refused("", f"has more than {CELLS_MAX:,} cells")


def _less(room: int, size: int, name: str) -> int:
    if size > room:
        raise Refused(name, f"with this column the table is larger than {TABLE_BYTES >> 20:,} MiB unpacked")
    return room - size


def _is_text(kind: pa.DataType) -> bool:
    kinds = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)
    return any(is_kind(kind) for is_kind in kinds)


def _unpacked(column: pa.ChunkedArray) -> int:
    """Bytes of a column's texts with each cell written out."""
    size = 0
    for chunk in column.chunks:
        if pa.types.is_dictionary(chunk.type):
            lengths = pc.cast(pc.binary_length(chunk.dictionary), pa.int64())
            size += pc.sum(lengths.take(chunk.indices)).as_py() or 0
        else:
            size += chunk.nbytes
    return size
