"""A folder of anyone's pictures → a table that is a job."""

from __future__ import annotations

import io
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdbatch.api import reading
from sdbatch.api.reading import Read
from sdbatch.errors import InputError, UsageError
from sdbatch.foreign.found import storable
from sdbatch.parameters import PARAMETERS
from sdbatch.sources import files, finetunes
from sdbatch.spec.schema import TABLES
from sdbatch.store.base import LocalStore

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
"""Files that are looked into."""
FREE = ("source_path", "tool", "source_model", "not_mapped")
"""The free columns of the table: the picture, who wrote its metadata, that tool's name of its model, and the keys that
have no place in a row."""
_KINDS = {"text": "string", "int": "int64", "float": "float64", "json": "string"}

Cell = str | int | float | None


@dataclass(frozen=True)
class ImportReport:
    """What a folder came to.

    Attributes:
        table: where it was written; None where no picture has a row.
        tools: how many pictures of each tool.
        skipped: pictures without a row → why.
        unmapped: pictures → what of their metadata has no place in a row, by key.
        fine_tunes: what rows name that must lie beside the table when they are made.
    """

    table: str | None
    rows: int
    tools: Mapping[str, int]
    skipped: Mapping[str, str]
    unmapped: Mapping[str, Mapping[str, str]]
    fine_tunes: tuple[str, ...] = ()
    schema: int = 1


def import_folder(folder: Path, to: Path, *, base: Path | None = None, drop: Sequence[str] = ()) -> ImportReport:
    """Read every picture below a folder, and write a table with one row a picture.

    Args:
        to: the table, .parquet, .csv or .jsonl; one that is there is replaced.
        base: the folder that paths in the metadata start from; None looks for it.
        drop: parameters to leave out, such as `loras` or `model`.

    Raises:
        UsageError: there is no such folder, kind of table or parameter.
        StoreError: the table cannot be written.
    """
    if to.suffix.lower() not in TABLES:
        raise UsageError(f"--to {files.show(to)}: is not a table; allowed: {', '.join(TABLES)}")
    if not folder.is_dir():
        raise UsageError(f"{files.show(folder)}: is not a folder")
    for name in drop:
        if name not in PARAMETERS:
            raise UsageError(f"--drop {name!r}: is no parameter; there are: {', '.join(PARAMETERS)}")
    rows: list[dict[str, Any]] = []
    skipped: dict[str, str] = {}
    unmapped: dict[str, Mapping[str, str]] = {}
    for picture in _pictures(folder, skipped):
        try:
            read = _read(picture, base, set(drop))
        except InputError as error:
            skipped[files.show(picture)] = str(error).removeprefix(f"{files.show(picture)}: ")
            continue
        rows.append(_row(read, to.absolute().parent, set(drop)))
        if read.found.unmapped:
            unmapped[files.show(picture)] = read.found.unmapped
    if rows:
        LocalStore(to.absolute().parent).replace(to.name, _table(rows, to.suffix.lower()))
    tools = dict(sorted(Counter(row["tool"] for row in rows).items()))
    return ImportReport(str(to) if rows else None, len(rows), tools, skipped, unmapped, _fine_tunes(rows))


def _fine_tunes(rows: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    named = {
        f"{kind} {files.show(entry[0])}"
        for row in rows
        for name, kind in finetunes.KINDS.items()
        for entry in finetunes.canonical(name, row.get(name))
    }
    return tuple(sorted(named))


def _pictures(folder: Path, skipped: dict[str, str]) -> Iterator[Path]:
    """Picture files in order of their paths; a link out of the folder is not followed."""
    root = folder.resolve()
    for here, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = Path(here) / name
            if path.suffix.lower() not in SUFFIXES:
                continue
            if path.is_symlink() and not _inside(path, root):
                skipped[files.show(path)] = "is a link that leads out of the folder"
            else:
                yield path


def _inside(path: Path, root: Path) -> bool:
    try:
        return path.resolve().is_relative_to(root)
    except (OSError, RuntimeError):  # a link to itself
        return False


def _read(picture: Path, base: Path | None, drop: set[str]) -> Read:
    read = reading.read(picture, base)
    missing = [text for text in read.missing() if text.partition(" ")[0] not in drop]
    if missing:
        raise InputError(f"{', '.join(missing)} is not there (looked for in {files.show(read.base)}; --base)")
    return read


def _row(read: Read, home: Path, drop: set[str]) -> dict[str, Any]:
    params = {name: value for name, value in read.moved(home).items() if name not in drop and value is not None}
    free = (
        storable(str(read.picture)),
        read.found.tool,
        read.found.model or None,
        ", ".join(read.found.unmapped) or None,
    )
    return {**params, **dict(zip(FREE, free, strict=True))}


def _table(rows: Sequence[Mapping[str, Any]], suffix: str) -> bytes:
    names = [name for name in (*PARAMETERS, *FREE) if any(row.get(name) is not None for row in rows)]
    if suffix == ".jsonl":
        lines = ({name: row[name] for name in names if row.get(name) is not None} for row in rows)
        return "".join(json.dumps(line) + "\n" for line in lines).encode()
    columns = {name: [_cell(name, row.get(name)) for row in rows] for name in names}
    return _csv(columns) if suffix == ".csv" else _parquet(columns)


def _cell(name: str, value: Any) -> Cell:
    structured = name in PARAMETERS and PARAMETERS[name].kind == "json" and value is not None
    cell: Cell = json.dumps(value) if structured else value
    return cell


def _csv(columns: Mapping[str, Sequence[Cell]]) -> bytes:
    """An empty cell is no value, a quoted empty cell an empty text."""

    def cell(value: Cell) -> str:
        if value is None:
            return ""
        return '"' + value.replace('"', '""') + '"' if isinstance(value, str) else repr(value)

    lines = [",".join(columns), *(",".join(map(cell, line)) for line in zip(*columns.values(), strict=True))]
    return "".join(f"{line}\n" for line in lines).encode()


def _parquet(columns: Mapping[str, Sequence[Cell]]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {name: _KINDS[PARAMETERS[name].kind] if name in PARAMETERS else "string" for name in columns}
    arrays = {name: pa.array(cells, pa.type_for_alias(kinds[name])) for name, cells in columns.items()}
    sink = io.BytesIO()
    pq.write_table(pa.table(arrays), sink, compression="zstd")
    return sink.getvalue()
