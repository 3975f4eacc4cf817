"""Parts of the manifest and of the failures as files: each opened once for all that is asked of it at the start."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sdbatch.errors import StoreError
from sdbatch.spec.digests import Digests
from sdbatch.store.base import Store

KEPT = 4_000_000
"""Lines whose digests are kept once they were read, twenty bytes each; those of the parts after them are read anew."""
_THREADS = 8
_GROUP, _TOGETHER = 32, 65_536
"""Parts that one thread opens in turn, and lines that are made digests together."""
_LINE = pa.schema([("id", pa.string()), ("row", pa.string())])
Lines = tuple[Digests, Digests]
"""Ids and row keys."""


@dataclass(frozen=True)
class Part:
    """What a part was found to hold.

    Attributes:
        kind: which of `Parts.kinds` its columns are.
        count: how many lines.
        kept: whether what these are is kept.
    """

    kind: int
    count: int
    kept: bool


class Parts:
    """The parts in one folder of a store."""

    def __init__(self, store: Store, folder: str) -> None:
        self._store, self._folder = store, folder
        self.kinds: list[pa.Schema] = []  # the parts' different columns
        self._found: dict[str, Part] = {}
        self._lines: list[Lines] = []
        self._kept = 0

    def paths(self) -> list[str]:
        """The paths, sorted."""
        return [path for path in self._store.list(self._folder) if path.endswith(".parquet")]

    def found(self, *, lines: bool = False) -> dict[str, Part]:
        """Each part by path, opened if it was not before; several at a time, as most of it is done outside Python.

        Args:
            lines: keep ids and row keys too, up to KEPT.

        Raises:
            StoreError: a part cannot be read.
        """
        paths = self.paths()
        unknown = [path for path in paths if path not in self._found or (lines and not self._found[path].kept)]
        if lines and self._kept >= KEPT:
            unknown = [path for path in unknown if path not in self._found]
        if unknown:
            groups = [unknown[at : at + _GROUP] for at in range(0, len(unknown), _GROUP)]
            with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1, len(groups))) as threads:
                for group, opened in zip(groups, threads.map(partial(self._opened, lines=lines), groups), strict=True):
                    self._note(group, *opened)
        return {path: self._found[path] for path in paths}

    def lines(self) -> Iterator[Lines]:
        """Ids and row keys of all lines of the parts that were found, some at a time.

        Raises:
            StoreError: a part cannot be read.
        """
        yield from self._lines
        yield from _digests(self.table(path, _LINE) for path, part in self._found.items() if not part.kept)

    def table(self, path: str, wanted: pa.Schema | None = None) -> pa.Table:
        """A part; `wanted` limits its columns, or fills them up with nulls.

        Raises:
            StoreError: the part cannot be read, or is not Parquet.
        """
        with readable(self._store, path):
            file = _file(self._store, path)
            if wanted is None:
                return file.read()
            return widen(file.read(columns=_there(file.schema_arrow, wanted)), wanted)

    def rewritten(self, path: str, columns: pa.Schema) -> None:
        """A part has other columns now, and the same lines."""
        self._found[path] = replace(self._found[path], kind=self._kind(columns))

    def forget(self) -> None:
        """Parts have other lines now."""
        self._found, self._lines, self._kept = {}, [], 0

    def _kind(self, columns: pa.Schema) -> int:
        for at, known in enumerate(self.kinds):
            if columns.equals(known):
                return at
        self.kinds.append(columns)
        return len(self.kinds) - 1

    def _note(self, group: Sequence[str], seen: Sequence[tuple[pa.Schema, int]], lines: Sequence[Lines] | None) -> None:
        kept = lines is not None and self._kept < KEPT
        for some in lines or () if kept else ():
            self._lines.append(some)
            self._kept += len(some[0])
        for path, (columns, count) in zip(group, seen, strict=True):
            self._found[path] = Part(self._kind(columns), count, kept)

    def _opened(self, group: Sequence[str], lines: bool) -> tuple[list[tuple[pa.Schema, int]], list[Lines] | None]:
        seen: list[tuple[pa.Schema, int]] = []
        lines = lines and self._kept < KEPT

        def tables() -> Iterator[pa.Table]:
            for path in group:
                with readable(self._store, path):
                    file = _file(self._store, path)
                    columns = file.schema_arrow
                    seen.append((columns, file.metadata.num_rows))
                    if lines:
                        yield widen(file.read(columns=_there(columns, _LINE), use_threads=False), _LINE)

        found = list(_digests(tables()))
        return seen, found if lines else None


class readable:
    """Name the part in whatever Arrow says of it, and what sets it aside."""

    def __init__(self, store: Store, path: str) -> None:
        self._store, self._path = store, path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, (pa.ArrowException, ValueError, OSError)):  # Arrow's OSError: pages that do not decode
            said = " ".join(str(error).split())
            raise StoreError(
                f"{self._store.shown(self._path)} is not a whole part: {said}; "
                f"`sdbatch fsck {self._store.shown()} --repair` sets it aside"
            ) from error


def widen(table: pa.Table, wanted: pa.Schema) -> pa.Table:
    """The columns wanted, in their types; null where the table has none."""
    if table.schema.equals(wanted):
        return table
    there = set(table.column_names)
    columns = [
        table.column(column.name).cast(column.type) if column.name in there else pa.nulls(table.num_rows, column.type)
        for column in wanted
    ]
    return pa.Table.from_arrays(columns, schema=wanted)


def part_bytes(table: pa.Table) -> bytes:
    """A part as it is written: each page has a checksum, so that a flipped bit is noticed."""
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    return sink.getvalue()


def _file(store: Store, path: str) -> Any:
    return pq.ParquetFile(pa.BufferReader(store.read(path) or b""), page_checksum_verification=True)


def _there(columns: pa.Schema, wanted: pa.Schema) -> list[str]:
    return [name for name in wanted.names if name in columns.names]


def _digests(tables: Iterable[pa.Table]) -> Iterator[Lines]:
    """Of tables of any size: what takes as long for few lines as for many is done once for some 65,536 of them."""
    waiting: list[pa.Table] = []
    for table in tables:
        waiting.append(table)
        if sum(map(len, waiting)) >= _TOGETHER:
            yield _line_digests(waiting)
            waiting = []
    if waiting:
        yield _line_digests(waiting)


def _line_digests(tables: Sequence[pa.Table]) -> Lines:
    table = pa.concat_tables(tables)
    return Digests.of(table.column("id")), Digests.of(table.column("row"))
