"""Tables of rows: .parquet, .csv and .jsonl → Arrow, with columns that are parameters checked and typed.

A column that is a parameter becomes string, int64, float64, or for kind `json` a string of JSON with
sorted keys and no spaces; null means the top-level value. Any other column is free and becomes text.
In a CSV an empty cell is null and a quoted empty cell (`""`) is an empty text; nothing else is null.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from sdbatch.errors import Problem, SpecError
from sdbatch.parameters import PARAMETERS
from sdbatch.spec import cells, parquet
from sdbatch.spec.axes import reason_of
from sdbatch.spec.document import plain
from sdbatch.spec.problems import show

WRONG_MAX = 20
"""Most wrong cells that are reported of a column."""
COLUMNS_MAX = 1024
CHUNK = 65_536
BLOCK_BYTES = 16 << 20

_INDEX = re.compile(r"__index_level_\d+__\Z")  # where pandas keeps a frame's row labels


def columns(path: Path, shown: str | None = None) -> list[str]:
    """The names of a table's columns. Of a .jsonl every line is read, as any may have a key of its own.

    Raises:
        SpecError: the file cannot be read or its header is wrong.
    """
    shown = shown or str(path)
    try:
        names = _names(path, shown)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise _unreadable(shown, error) from error
    repeated = sorted(name for name, times in Counter(names).items() if times > 1)[:WRONG_MAX]
    if repeated:
        raise SpecError([Problem(shown, None, name, "two columns have this name") for name in repeated])
    if not names:
        raise SpecError([Problem(shown, None, "", "the table has no column")])
    if len(names) > COLUMNS_MAX:
        raise SpecError([Problem(shown, None, "", f"has more than {COLUMNS_MAX:,} columns")])
    return names


def read(path: Path, shown: str) -> pa.Table:
    """Read a table.

    Args:
        path: the file.
        shown: its path as the user gave it, for messages.

    Returns:
        n rows; see the module for the types.

    Raises:
        SpecError: the file cannot be read, is empty, or has wrong cells; with file, line and column.
    """
    names = columns(path, shown)
    try:
        if path.suffix.lower() == ".jsonl":
            table = _read_jsonl(path, shown, names)
        elif path.suffix.lower() == ".csv":
            table = _read_csv(path, shown, names)
        else:
            table = parquet.read(path, names)
        if not table.num_rows:
            raise SpecError([Problem(shown, None, "", "the table has no row")])
        return table if path.suffix.lower() == ".jsonl" else _checked(table, path, shown)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise _unreadable(shown, error) from error


def _unreadable(shown: str, error: Exception) -> SpecError:
    if isinstance(error, parquet.Refused):
        return SpecError([Problem(shown, None, error.column, str(error))])
    return SpecError([Problem(shown, None, "", f"cannot be read: {reason_of(error)}")])


def _names(path: Path, shown: str) -> list[str]:
    suffix = path.suffix.lower()
    if path.stat().st_size > parquet.TABLE_BYTES:
        raise parquet.Refused("", f"is larger than {parquet.TABLE_BYTES >> 20:,} MiB")
    if suffix == ".parquet":
        return [name for name in pa.parquet.read_schema(path).names if not _INDEX.match(name)]
    if suffix == ".csv":
        return next(_records(path), (0, []))[1]
    names: dict[str, None] = {}
    for _, entry in _entries(path, shown):
        names.update(dict.fromkeys(entry))
        if len(names) > COLUMNS_MAX:
            break
    return list(names)


def _checked(table: pa.Table, path: Path, shown: str) -> pa.Table:
    """Columns in their own types; or every wrong cell, by line."""
    made: dict[str, pa.ChunkedArray] = {}
    wrong: list[tuple[str, int, str]] = []
    problems: list[Problem] = []
    texts = path.suffix.lower() == ".csv"
    for name in table.column_names:
        try:
            made[name], bad = cells.typed(PARAMETERS.get(name), table.column(name), texts)
            wrong += [(name, row, message) for row, message in bad[:WRONG_MAX]]
        except cells.WrongType as error:
            problems.append(Problem(shown, None, name, str(error)))
    lines = _csv_lines(path, max(row for _, row, _ in wrong)) if texts and wrong else []
    for name, row, message in wrong:
        line = lines[row] if row < len(lines) else None
        problems.append(Problem(shown, line, name, message if line else f"row {row + 1}: {message}"))
    if problems:
        raise SpecError(problems)
    return pa.table(made)


def _read_csv(path: Path, shown: str, names: list[str]) -> pa.Table:
    """All cells as text."""
    torn: list[Any] = []

    def note(row: Any) -> str:
        torn.append(row)
        return "skip"

    table = pa.csv.read_csv(
        path,
        read_options=pa.csv.ReadOptions(use_threads=False, block_size=BLOCK_BYTES),
        parse_options=pa.csv.ParseOptions(newlines_in_values=True, invalid_row_handler=note),
        convert_options=pa.csv.ConvertOptions(
            column_types={name: pa.string() for name in names},
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )
    if torn:
        torn = torn[:WRONG_MAX]
        lines = dict(enumerate(_csv_lines(path, max(row.number for row in torn) - 2), 2))
        raise SpecError([Problem(shown, lines.get(row.number), "", _torn(row)) for row in torn])
    return table


def _torn(row: Any) -> str:
    return f"has {row.actual_columns} cells; the header has {row.expected_columns} (quote a cell with a comma)"


def _csv_lines(path: Path, last: int) -> list[int]:
    """The line on which each row begins, up to row `last`."""
    records = _records(path)
    next(records, None)
    return [line for _, (line, _) in zip(range(last + 1), records, strict=False)]


def _records(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Records that are not blank, with the line each begins on."""
    import csv

    csv.field_size_limit(BLOCK_BYTES)  # what Arrow reads; Python's own limit is 128 KiB
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file)
        before = 0
        try:
            for record in reader:
                if record:
                    yield before + 1, record
                before = reader.line_num
        except csv.Error as error:
            raise ValueError(f"line {before + 1}: {error}") from error


def _read_jsonl(path: Path, shown: str, names: list[str]) -> pa.Table:
    """Line by line, for a line may have any type in any column."""
    lines: list[int] = []
    chunk: list[dict[str, Any]] = []
    parts: list[pa.Table] = []
    wrong: list[Problem] = []

    def flush() -> None:
        first = len(lines) - len(chunk)
        made = {}
        for name in names:
            values = [entry.get(name) for entry in chunk]
            made[name], bad = cells.from_python(PARAMETERS.get(name), values)
            wrong.extend(Problem(shown, lines[first + at], name, message) for at, message in bad)
        parts.append(pa.table(made))
        chunk.clear()

    for line, entry in _entries(path, shown):
        lines.append(line)
        chunk.append(entry)
        if len(chunk) == CHUNK:
            flush()
    if chunk or not parts:
        flush()
    if wrong:
        raise SpecError(wrong[: WRONG_MAX * len(names)])
    return pa.concat_tables(parts)


def _entries(path: Path, shown: str) -> Iterator[tuple[int, dict[str, Any]]]:
    with path.open(encoding="utf-8-sig") as file:
        for line, text in enumerate(file, 1):
            if not text.strip():
                continue
            try:
                entry = json.loads(text, parse_constant=_refuse, object_pairs_hook=_unique)
            except (ValueError, RecursionError) as error:
                message = getattr(error, "msg", None) or str(error)
                raise SpecError([Problem(shown, line, "", f"not JSON: {message}")]) from error
            wrong = plain(entry) if isinstance(entry, dict) else f"{show(entry)} is not an object with columns as keys"
            if wrong:
                raise SpecError([Problem(shown, line, "", wrong)])
            yield line, entry


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("an object has a key twice")
    return found


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not a number")
