"""The manifest and the failures: Parquet parts, each renamed into place; a line in the manifest means done."""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sdbatch.parameters import PARAMETERS
from sdbatch.sources import parents
from sdbatch.spec.digests import Digests
from sdbatch.store import columns
from sdbatch.store.base import Store
from sdbatch.store.parts import Lines, Parts, part_bytes, readable, widen
from sdbatch.types import Failure, Record, Row

SCHEMA_VERSION = 1
"""Of what columns mean; a new column leaves it, and is null in older lines."""
FOLDER, FAILURES = "manifest", "failures"
_FREE = "field_"
_TYPES = {"text": pa.string(), "int": pa.int64(), "float": pa.float64(), "json": pa.string()}
_FAILURE = pa.schema([(column.name, column.type) for column in columns.FAILURE])


def schema(fields: Iterable[str]) -> pa.Schema:
    """The manifest's columns for a job with these free columns, the same in every part."""
    given = [(parameter.name, _TYPES[parameter.kind]) for parameter in PARAMETERS.values()]
    free = [(f"field_{name}", pa.string()) for name in sorted(fields)]
    head, tail = ([(column.name, column.type) for column in part] for part in (columns.HEAD, columns.TAIL))
    return pa.schema([*head, *given, *free, *tail])


def record(row: Row, uses: frozenset[str], made: dict[str, Any]) -> Record:
    """A manifest line: the row's parameters (null where its mode has no use for one) and how it was made."""
    line: Record = {"row": row.row, "id": row.id, "stage": row.stage, "path": row.path}
    for name, parameter in PARAMETERS.items():
        value = row.params.get(name) if name in uses else None
        line[name] = json.dumps(value, sort_keys=True) if parameter.kind == "json" and value is not None else value
    line.update({f"field_{name}": value for name, value in row.fields.items()})
    line.update({f"{name}_template": text for name, text in row.templates.items() if text != line[name]})
    above = parents.of(row.params) or row.fields.get("parent_id")
    return {**line, "parent_id": above, **made, "schema_version": SCHEMA_VERSION}


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
    """The row that a manifest line is of, with these parameters, and what its last attempt had otherwise."""
    if line.get("seed_used") is not None:
        params = {**params, "seed": line["seed_used"], **json.loads(line.get("used") or "{}")}
    fields = {name.removeprefix("field_"): value for name, value in line.items() if name.startswith("field_")}
    templates = {name: line.get(f"{name}_template") or params[name] for name in ("prompt", "negative_prompt")}
    return Row(line["id"], line["row"], line["stage"], line["path"], params, fields, templates)


def described(line: Mapping[str, Any]) -> dict[str, Any]:
    """A line as conditions see it: its columns, free ones by their own names, and its scores each by name."""
    scores = json.loads(line.get("scores") or "{}")
    free = {name.removeprefix(_FREE): value for name, value in line.items() if name.startswith(_FREE)}
    return {**line, **free, **scores}


@dataclass(frozen=True)
class Done:
    """What a directory already holds.

    Attributes:
        count: how many lines there are.
        free: some have free columns.
        lines: reads ids and row keys, some at a time; StoreError where a part is damaged.
    """

    count: int = 0
    free: bool = False
    lines: Callable[[], Iterator[Lines]] = lambda: iter(())

    def __len__(self) -> int:
        return self.count

    def with_more(self, lines: Lines) -> Done:
        """With rows besides that are settled without a line."""
        return Done(self.count + len(lines[0]), self.free, lambda: itertools.chain(self.lines(), [lines]))


class Manifest:
    """The parts of one run directory.

    Args:
        fields: free columns of the job; those of older parts are kept beside them.
    """

    def __init__(self, store: Store, run: str, fields: Sequence[str] = ()) -> None:
        self._store, self._run, self._count = store, run, 0
        self._parts, self._asked = Parts(store, FOLDER), fields
        self._columns: pa.Schema | None = None

    @property
    def _schema(self) -> pa.Schema:
        """The columns of the job and of older parts, looked for when they are first needed."""
        if self._columns is None:
            self._parts.found()
            self._columns = self._widest()
        return self._columns

    def _widest(self) -> pa.Schema:
        return schema({*self._asked, *(name for columns in self._parts.kinds for name in _free(columns.names))})

    def open(self) -> None:
        """Bring older parts to this job's columns, so that all parts have one schema; each by rename.

        Raises:
            StoreError: a part cannot be read or written.
        """
        parts = self._parts.found(lines=True)  # opened once for this and for what is done
        self._columns = self._widest()
        fitting = [columns.equals(self._columns) for columns in self._parts.kinds]
        for path, part in parts.items():
            if not fitting[part.kind]:
                self._store.replace(path, part_bytes(self._parts.table(path, self._columns)))
                self._parts.rewritten(path, self._columns)

    def commit(self, records: Sequence[Record], failures: Sequence[Failure] = ()) -> None:
        """Write what came of a lease. The records come first: a row in both is done.

        Raises:
            StoreError: the directory cannot be written.
            BusyError: another run took the directory over.
        """
        self._store.confirm()
        self._count += 1
        name = f"{self._run}-{self._count:06d}.parquet"
        if records:
            lines = [{name: record.get(name) for name in self._schema.names} for record in records]
            self._store.create(f"{FOLDER}/{name}", part_bytes(pa.Table.from_pylist(lines, self._schema)))
        if failures:
            lost = [{**asdict(failure), "run": self._run} for failure in failures]
            self._store.create(f"{FAILURES}/{name}", part_bytes(pa.Table.from_pylist(lost, _FAILURE)))

    def forget(self, rows: pa.Array) -> list[str]:
        """Take lines out, part by part, each by rename; gives the paths of their pictures."""
        self._store.confirm()
        paths: list[str] = []
        for path in self._parts.paths():
            table = self._parts.table(path)
            gone = pc.is_in(table.column("row"), value_set=rows)
            lost = table.filter(gone)
            if lost.num_rows:
                paths += lost.column("path").to_pylist()
                self._store.replace(path, part_bytes(table.filter(pc.invert(gone))))
                self._parts.forget()
        return paths

    def done(self, stage: str | None = None) -> Done:
        """Ids and row keys of every line, or of those of one stage; what of them is not kept is read when asked for."""
        if stage is not None:
            table = self.read(["id", "row", "stage"])
            lines = table.filter(pc.equal(table.column("stage"), stage))
            digests = Digests.of(lines.column("id")), Digests.of(lines.column("row"))
            return Done(
                lines.num_rows, any(name.startswith(_FREE) for name in self._schema.names), lambda: iter([digests])
            )
        parts = self._parts.found(lines=True)
        count = sum(part.count for part in parts.values())
        free = any(name.startswith(_FREE) for name in self._schema.names)
        return Done(count, free, self._parts.lines)

    def read(self, columns: Sequence[str] | None = None) -> pa.Table:
        """All parts as one table; `columns` limits what is read.

        Raises:
            StoreError: a part cannot be read, or is not Parquet.
        """
        known = self._schema if columns is None else schema(_free(columns))
        wanted = pa.schema([known.field(name) for name in columns or known.names])
        parts = [self._parts.table(path, wanted) for path in self._parts.paths()]
        return pa.concat_tables(parts) if parts else _empty(wanted)

    def records(self, ids: Sequence[str]) -> dict[str, Record]:
        """One line for each of these ids, by id."""
        table = self.read()
        kept = table.filter(pc.is_in(table.column("id"), value_set=pa.array(ids, pa.string())))
        return {line["id"]: line for line in kept.to_pylist()}

    def failures(self) -> pa.Table:
        """Every failed attempt."""
        lost = Parts(self._store, FAILURES)
        parts = [lost.table(path) for path in lost.paths()]
        return pa.concat_tables(parts) if parts else _empty(_FAILURE)


def _free(columns: Iterable[str]) -> Iterator[str]:
    return (name.removeprefix(_FREE) for name in columns if name.startswith(_FREE))


def whole_part(store: Store, path: str) -> pa.Table:
    """A part of the manifest or of the failures, decoded to its last page, in this version's types.

    Raises:
        StoreError: it is damaged, or no such part.
    """
    with readable(store, path):
        table = pq.read_table(io.BytesIO(store.read(path) or b""), page_checksum_verification=True)
        fields = [name.removeprefix("field_") for name in table.column_names if name.startswith("field_")]
        lost = path.startswith(f"{FAILURES}/")
        wide = widen(table, _FAILURE if lost else schema(fields))
        wide.validate(full=True)
        for name in ("row", "id") if lost else ("row", "id", "path"):
            if wide.column(name).null_count:
                raise ValueError(f"a line has no {name}")
        return wide


def _empty(kind: pa.Schema) -> pa.Table:
    """No lines. Not `kind.empty_table()`, which imports pandas."""
    return pa.Table.from_arrays([pa.nulls(0, column.type) for column in kind], schema=kind)
