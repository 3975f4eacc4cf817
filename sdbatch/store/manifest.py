"""The manifest and the failures: Parquet parts, each renamed into place; a line in the manifest means done."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sdbatch.errors import StoreError
from sdbatch.parameters import PARAMETERS
from sdbatch.spec.digests import Digests
from sdbatch.store.base import Store
from sdbatch.types import Failure, Record, Row

SCHEMA_VERSION = 1
"""Of what columns mean; a new column leaves it, and is null in older lines."""
FOLDER, FAILURES = "manifest", "failures"
_TYPES = {"text": pa.string(), "int": pa.int64(), "float": pa.float64(), "json": pa.string()}
_HEAD = [(name, pa.string()) for name in ("row", "id", "stage", "path")]
_TAIL = [
    *((name, pa.string()) for name in ("prompt_template", "negative_prompt_template", "fine_tunes")),
    *((name, pa.string()) for name in ("parent_id", "model_hash", "image_sha256", "mask_sha256", "file_sha256")),
    *((name, pa.string()) for name in ("pixel_sha256", "watermark")),
    ("watermark_bits", pa.float64()),
    *((name, pa.string()) for name in ("safety", "fingerprint", "degraded", "device", "dtype")),
    ("batch_size", pa.int64()),
    ("threads", pa.int64()),
    ("versions", pa.string()),
    ("seconds", pa.float64()),
    ("finished_at", pa.string()),
    ("run", pa.string()),
    ("schema_version", pa.int64()),
]
_FAILURE = pa.schema(
    [
        *((name, pa.string()) for name in ("id", "row")),
        ("attempt", pa.int64()),
        *((name, pa.string()) for name in ("error", "message", "when", "where", "run")),
    ]
)


def schema(fields: Iterable[str]) -> pa.Schema:
    """The manifest's columns for a job with these free columns, the same in every part."""
    columns = [(parameter.name, _TYPES[parameter.kind]) for parameter in PARAMETERS.values()]
    free = [(f"field_{name}", pa.string()) for name in sorted(fields)]
    return pa.schema([*_HEAD, *columns, *free, *_TAIL])


def record(row: Row, uses: frozenset[str], made: dict[str, Any]) -> Record:
    """A manifest line: the row's parameters (null where its mode has no use for one) and how it was made."""
    line: Record = {"row": row.row, "id": row.id, "stage": row.stage, "path": row.path}
    for name, parameter in PARAMETERS.items():
        value = row.params.get(name) if name in uses else None
        line[name] = json.dumps(value, sort_keys=True) if parameter.kind == "json" and value is not None else value
    line.update({f"field_{name}": value for name, value in row.fields.items()})
    line.update({f"{name}_template": text for name, text in row.templates.items() if text != line[name]})
    return {**line, **made, "schema_version": SCHEMA_VERSION}


def parameters(line: Mapping[str, Any]) -> dict[str, Any]:
    """Every parameter of a manifest line, as the row had it where its mode uses it, and its default elsewhere.

    Raises:
        ValueError: a column that holds JSON does not.
    """
    found: dict[str, Any] = {}
    for name, parameter in PARAMETERS.items():
        value = line.get(name)
        if value is not None and parameter.kind == "json":
            try:
                value = json.loads(value)
            except (ValueError, RecursionError) as error:
                raise ValueError(f"{name}: not JSON: {error}") from error
        found[name] = parameter.default if value is None else value
    return found


def row(line: Mapping[str, Any], params: Mapping[str, Any]) -> Row:
    """The row that a manifest line is of, with these parameters."""
    fields = {name.removeprefix("field_"): value for name, value in line.items() if name.startswith("field_")}
    templates = {name: line.get(f"{name}_template") or params[name] for name in ("prompt", "negative_prompt")}
    return Row(line["id"], line["row"], line["stage"], line["path"], params, fields, templates)


@dataclass(frozen=True)
class Done:
    """What a directory already holds, a part of the manifest at a time.

    Attributes:
        count: how many lines there are.
        free: some have free columns.
        parts: reads a part's ids and row keys; StoreError where it is damaged.
    """

    count: int = 0
    free: bool = False
    parts: Sequence[Callable[[], tuple[Digests, Digests]]] = ()

    def __len__(self) -> int:
        return self.count

    def lines(self) -> Iterator[tuple[Digests, Digests]]:
        """Ids and row keys, a part after the other.

        Raises:
            StoreError: a part cannot be read.
        """
        return (read() for read in self.parts)


class Manifest:
    """The parts of one run directory.

    Args:
        fields: free columns of the job; those of older parts are kept beside them.
    """

    def __init__(self, store: Store, run: str, fields: Sequence[str] = ()) -> None:
        self._store, self._run, self._parts = store, run, 0
        self._fields = sorted({*fields, *self._older_fields()})
        self._schema = schema(self._fields)

    def open(self) -> None:
        """Bring older parts to this job's columns, so that all parts have one schema; each by rename."""
        for path in self._store.list(FOLDER):
            if path.endswith(".parquet") and not self._schema_of(path).equals(self._schema):
                self._store.replace(path, part_bytes(self._wide(path, self._schema)))

    def commit(self, records: Sequence[Record], failures: Sequence[Failure] = ()) -> None:
        """Write what came of a lease. The records come first: a row in both is done.

        Raises:
            StoreError: the directory cannot be written.
            BusyError: another run took the directory over.
        """
        self._store.confirm()
        self._parts += 1
        name = f"{self._run}-{self._parts:06d}.parquet"
        if records:
            lines = [{name: record.get(name) for name in self._schema.names} for record in records]
            self._store.replace(f"{FOLDER}/{name}", part_bytes(pa.Table.from_pylist(lines, self._schema)))
        if failures:
            lost = [{**asdict(failure), "run": self._run} for failure in failures]
            self._store.replace(f"{FAILURES}/{name}", part_bytes(pa.Table.from_pylist(lost, _FAILURE)))

    def forget(self, rows: pa.Array) -> list[str]:
        """Take lines out, part by part, each by rename; gives the paths of their pictures."""
        self._store.confirm()
        paths: list[str] = []
        for path in self._store.list(FOLDER):
            if not path.endswith(".parquet"):
                continue
            table = self._part(path)
            gone = pc.is_in(table.column("row"), value_set=rows)
            lost = table.filter(gone)
            if lost.num_rows:
                paths += lost.column("path").to_pylist()
                self._store.replace(path, part_bytes(table.filter(pc.invert(gone))))
        return paths

    def done(self) -> Done:
        """Ids and row keys of every line, each part of them read when it is asked for."""
        paths = [path for path in self._store.list(FOLDER) if path.endswith(".parquet")]
        count = sum(self._lines_of(path) for path in paths)
        return Done(count, bool(self._fields), [partial(self._digests, path) for path in paths])

    def read(self, columns: Sequence[str] | None = None) -> pa.Table:
        """All parts as one table; `columns` limits what is read.

        Raises:
            StoreError: a part cannot be read, or is not Parquet.
        """
        wanted = pa.schema([self._schema.field(name) for name in columns or self._schema.names])
        parts = [self._wide(path, wanted) for path in self._store.list(FOLDER) if path.endswith(".parquet")]
        return pa.concat_tables(parts) if parts else _empty(wanted)

    def records(self, ids: Sequence[str]) -> dict[str, Record]:
        """One line for each of these ids, by id."""
        table = self.read()
        kept = table.filter(pc.is_in(table.column("id"), value_set=pa.array(ids, pa.string())))
        return {line["id"]: line for line in kept.to_pylist()}

    def failures(self) -> pa.Table:
        """Every failed attempt."""
        parts = [self._part(path) for path in self._store.list(FAILURES) if path.endswith(".parquet")]
        return pa.concat_tables(parts) if parts else _empty(_FAILURE)

    def _older_fields(self) -> set[str]:
        found: set[str] = set()
        for path in self._store.list(FOLDER):
            if path.endswith(".parquet"):
                found |= {name.removeprefix("field_") for name in self._schema_of(path).names if name[:6] == "field_"}
        return found

    def _schema_of(self, path: str) -> pa.Schema:
        with _readable(self._store, path):
            return pq.read_schema(io.BytesIO(self._store.read(path) or b""))

    def _lines_of(self, path: str) -> int:
        with _readable(self._store, path):
            return int(pq.read_metadata(io.BytesIO(self._store.read(path) or b"")).num_rows)

    def _digests(self, path: str) -> tuple[Digests, Digests]:
        table = self._wide(path, pa.schema([self._schema.field(name) for name in ("id", "row")]))
        with _readable(self._store, path):
            return Digests.of(table.column("id")), Digests.of(table.column("row"))

    def _part(self, path: str, columns: Sequence[str] | None = None) -> pa.Table:
        with _readable(self._store, path):
            file = pq.ParquetFile(io.BytesIO(self._store.read(path) or b""), page_checksum_verification=True)
            there = None if columns is None else [name for name in columns if name in file.schema_arrow.names]
            return file.read(columns=there)

    def _wide(self, path: str, wanted: pa.Schema) -> pa.Table:
        with _readable(self._store, path):
            return _widen(self._part(path, wanted.names), wanted)


def whole_part(store: Store, path: str) -> pa.Table:
    """A part of the manifest or of the failures, decoded to its last page, in this version's types.

    Raises:
        StoreError: it is damaged, or no such part.
    """
    with _readable(store, path):
        table = pq.read_table(io.BytesIO(store.read(path) or b""), page_checksum_verification=True)
        fields = [name.removeprefix("field_") for name in table.column_names if name.startswith("field_")]
        lost = path.startswith(f"{FAILURES}/")
        wide = _widen(table, _FAILURE if lost else schema(fields))
        wide.validate(full=True)
        for name in ("row", "id") if lost else ("row", "id", "path"):
            if wide.column(name).null_count:
                raise ValueError(f"a line has no {name}")
        return wide


def part_bytes(table: pa.Table) -> bytes:
    """A part as it is written: each page has a checksum, so that a flipped bit is noticed."""
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    return sink.getvalue()


class _readable:
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


def _empty(kind: pa.Schema) -> pa.Table:
    """No lines. Not `kind.empty_table()`, which imports pandas."""
    return pa.Table.from_arrays([pa.nulls(0, column.type) for column in kind], schema=kind)


def _widen(table: pa.Table, wanted: pa.Schema) -> pa.Table:
    columns = [
        table.column(column.name).cast(column.type)
        if column.name in table.column_names
        else pa.nulls(table.num_rows, column.type)
        for column in wanted
    ]
    return pa.Table.from_arrays(columns, schema=wanted)
