"""Columns of a table → the types of their parameters, checked as wholes and not cell by cell."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from sdbatch.parameters import Parameter, check, coerce
from sdbatch.spec.axes import from_json
from sdbatch.spec.document import plain

Wrong = list[tuple[int, str]]
"""Wrong cells: row from 0, and what is wrong."""

LISTED_MAX = 20
TYPES = {"text": pa.string(), "int": pa.int64(), "float": pa.float64(), "json": pa.string()}
# A text that might be JSON, or that needs escapes as JSON, is looked at one by one; other texts are quoted.
_JSON_LIKE = r'^\s*(?:[\[{"]|-?\d|(?:true|false|null)\s*$)|["\\\x00-\x1f]'
_INT = r"^\s*[-+]?[0-9]{1,18}(?:\.0*)?\s*$"
_FLOAT = r"^\s*[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\s*$"


class WrongType(Exception):
    """A whole column is of a type that its parameter cannot have."""


def typed(parameter: Parameter | None, column: pa.ChunkedArray, texts: bool) -> tuple[pa.ChunkedArray, Wrong]:
    """Check a column and give it its own type.

    Args:
        parameter: the parameter, or None for a free column.
        column: as read.
        texts: whether numbers come as text, as in a CSV.

    Raises:
        WrongType: no cell of the column can be right.
    """
    column = _simple(column)
    if parameter is None:
        return free(column), []
    if parameter.kind == "json":
        return _json(column)
    if parameter.kind == "text":
        if not pa.types.is_string(column.type):
            raise WrongType(f"a column of {column.type} is not text")
        return column, _bad_choices(parameter, column)
    if texts and pa.types.is_string(column.type):
        return _numbers_from_text(parameter, column)
    return _numbers(parameter, column)


def from_python(parameter: Parameter | None, values: Sequence[Any]) -> tuple[pa.Array, Wrong]:
    """Check Python values cell by cell, for tables that have no types of their own."""
    wrong: Wrong = []
    made: list[Any] = []
    for at, value in enumerate(values):
        problem = check(parameter, value) if parameter and value is not None else None
        if problem:
            wrong.append((at, problem))
        made.append(None if problem or value is None else _cell(parameter, value))
    return pa.array(made, TYPES[parameter.kind] if parameter else pa.string()), wrong


def _cell(parameter: Parameter | None, value: Any) -> Any:
    if parameter is None:
        return value if isinstance(value, str) else _shortest(value)
    return _dump(value) if parameter.kind == "json" else coerce(parameter, value)


def free(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A free column as text: numbers in shortest form, times in ISO 8601, lists and structs as JSON.

    Raises:
        WrongType: it holds bytes that are not UTF-8.
    """
    kind = column.type
    if pa.types.is_string(kind):
        return column
    if pa.types.is_nested(kind):
        return _mapped(column, lambda value: _dump(_no_nulls(value)))
    try:
        text = pc.cast(column, pa.string())
    except pa.ArrowException as error:
        raise WrongType(f"a column of {kind} cannot be read as text") from error
    if not pa.types.is_timestamp(kind):
        return text
    return pc.replace_substring_regex(pc.replace_substring(text, " ", "T"), r"\.0+($|[Z+-])", r"\1")


def _simple(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Without dictionary, large and null types."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _simple(pc.cast(column, kind.value_type))
    large = pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    return pc.cast(column, pa.string()) if large or pa.types.is_null(kind) else column


def _bad_choices(parameter: Parameter, column: pa.ChunkedArray) -> Wrong:
    if not parameter.choices:
        return []
    good = pc.is_in(column, value_set=pa.array([*parameter.choices, None], pa.string()))
    return _described(parameter, column, good)


def _described(parameter: Parameter, column: pa.ChunkedArray, good: Any) -> Wrong:
    """The first cells that are neither good nor null, in the words of `parameters.check`."""
    bad = pc.and_(pc.invert(pc.fill_null(good, False)), pc.is_valid(column))
    rows = pc.indices_nonzero(bad).slice(0, LISTED_MAX).to_pylist()
    cells = [(row, _whole(parameter, column[row].as_py())) for row in rows]
    return [(row, check(parameter, value) or f"{value!r} is not allowed") for row, value in cells]


def _whole(parameter: Parameter, value: Any) -> Any:
    """65.0 as 65, as it was written."""
    return int(value) if parameter.kind == "int" and isinstance(value, float) and value.is_integer() else value


def _numbers(parameter: Parameter, column: pa.ChunkedArray) -> tuple[pa.ChunkedArray, Wrong]:
    kind = column.type
    if pa.types.is_decimal(kind) or pa.types.is_float16(kind) or pa.types.is_float32(kind):
        column = _wider(column)
    elif not (pa.types.is_integer(kind) or pa.types.is_float64(kind)):
        if column.null_count == len(column):
            return pa.chunked_array([pa.nulls(len(column), TYPES[parameter.kind])]), []
        raise WrongType(f"a column of {kind} is not {'whole numbers' if parameter.kind == 'int' else 'numbers'}")
    good = _good(parameter, column)
    wrong = _described(parameter, column, good)
    return (column if wrong else pc.cast(column, TYPES[parameter.kind], safe=False)), wrong


def _wider(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """float64 of the same decimal text: a float32 of 0.1 is meant as 0.1."""
    if pa.types.is_float32(column.type):
        return pc.cast(pc.cast(column, pa.string()), pa.float64())
    return pc.cast(column, pa.float64())


def _good(parameter: Parameter, column: pa.ChunkedArray) -> Any:
    """Which cells are finite, whole where they must be, within bounds, and multiples."""
    real = pa.types.is_floating(column.type)
    number = pc.cast(column, pa.float64(), safe=False)  # exact within every parameter's bounds
    good = pc.is_finite(number) if real else pc.is_valid(column)
    if parameter.kind == "int" and real:
        good = pc.and_(good, pc.equal(pc.floor(number), number))
    if parameter.low is not None:
        good = pc.and_(good, pc.greater_equal(number, float(parameter.low)))
    if parameter.high is not None:
        good = pc.and_(good, pc.less_equal(number, float(parameter.high)))
    if parameter.multiple > 1:
        share = pc.divide(number, float(parameter.multiple))
        good = pc.and_(good, pc.equal(pc.floor(share), share))
    return good


def _numbers_from_text(parameter: Parameter, column: pa.ChunkedArray) -> tuple[pa.ChunkedArray, Wrong]:
    good = pc.match_substring_regex(column, _INT if parameter.kind == "int" else _FLOAT)
    wrong = _described(parameter, column, good)
    cells = pc.utf8_trim_whitespace(pc.if_else(good, column, pa.scalar(None, pa.string())))
    number, more = _numbers(parameter, pc.cast(cells, pa.float64()))
    return number, sorted(wrong + more)


def _json(column: pa.ChunkedArray) -> tuple[pa.ChunkedArray, Wrong]:
    """JSON text of each cell; a text that is not JSON stands for itself."""
    if not pa.types.is_string(column.type):
        return _json_values(column)
    odd = pc.match_substring_regex(column, _JSON_LIKE)
    quoted = pc.binary_join_element_wise('"', column, '"', "")
    if not pc.any(odd).as_py():
        return quoted, []
    looked = _mapped(pc.if_else(odd, column, pa.scalar(None, pa.string())), _canonical)
    return pc.if_else(odd, looked, quoted), []


def _json_values(column: pa.ChunkedArray) -> tuple[pa.ChunkedArray, Wrong]:
    wrong: Wrong = []
    if pa.types.is_floating(column.type):
        rows = pc.indices_nonzero(pc.invert(pc.fill_null(pc.is_finite(column), True))).slice(0, LISTED_MAX)
        wrong = [(row, f"{column[row].as_py()} is not a finite number") for row in rows.to_pylist()]
    if wrong:
        return column, wrong
    try:
        return _mapped(column, lambda value: _dump(_no_nulls(value))), []
    except (TypeError, ValueError) as error:
        raise WrongType(f"a column of {column.type} is not JSON: {error}") from error


def _canonical(text: str) -> str | None:
    value = from_json(text)
    return None if value is None else _dump(value)


def _mapped(column: pa.ChunkedArray, change: Callable[[Any], str | None]) -> pa.ChunkedArray:
    """A text for each cell, made once for each different cell of a chunk."""
    parts = []
    for chunk in column.chunks:
        if pa.types.is_nested(column.type):
            parts.append(pa.array([None if v is None else change(v) for v in chunk.to_pylist()], pa.string()))
            continue
        coded = chunk.dictionary_encode()
        texts = [None if value is None else change(value) for value in coded.dictionary.to_pylist()]
        parts.append(pa.array(texts, pa.string()).take(coded.indices))
    return pa.chunked_array(parts, pa.string())


def _no_nulls(value: Any) -> Any:
    """Without the nulls that Arrow puts where one struct of a column has no such key."""
    if isinstance(value, dict):
        return {key: _no_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_no_nulls(item) for item in value]
    return value


def _dump(value: Any) -> str:
    wrong = plain(value)
    if wrong:
        raise ValueError(wrong)
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _shortest(value: Any) -> str:
    """A JSON value as a free column's text: 4.0 is 4, as Arrow writes it."""
    if isinstance(value, float) and math.isfinite(value):
        return str(pc.cast(pa.scalar(value), pa.string()).as_py())
    return _dump(value)
