"""From the rows of one stage to a table that the rows of a later stage are made of."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from sdbatch import modes
from sdbatch.parameters import PARAMETERS
from sdbatch.sources.parents import Parent
from sdbatch.spec import arrow, ids, references
from sdbatch.spec.batch import Batch
from sdbatch.spec.columns import Column, merge
from sdbatch.spec.schema import JobSpec

if TYPE_CHECKING:
    from sdbatch.spec.grid import Names

_HEAD = {"index": pa.int64(), "id": pa.string(), "row": pa.string(), "path": pa.string()}
_SIZE = {"wide": pa.int32(), "high": pa.int32()}
_KINDS = {"text": pa.string(), "int": pa.int64(), "float": pa.float64(), "json": pa.string()}


def kinds(names: Sequence[str]) -> dict[str, pa.DataType]:
    """The columns of `part`. Those of no parameter are texts."""
    return {**_HEAD, **_SIZE, **{name: _kind(name) for name in names}}


def part(batch: Batch, names: Names, paths: Sequence[str], wanted: Sequence[str]) -> pa.Table:
    """Some rows as a later stage sees them; see `Rows.heritage`."""
    count = len(batch.numbers)
    sizes = _sizes(batch, names)
    columns = {
        "index": arrow.numbers(batch.numbers),
        **{name: arrow.texts(texts) for name, texts in (("id", batch.ids), ("row", batch.rows), ("path", paths))},
        **{
            name: pa.array([size[at] for size in sizes.spread(count)], kind)
            for at, (name, kind) in enumerate(_SIZE.items())
        },
    }
    there = {**batch.columns, **batch.fields, **batch.params}
    for name in wanted:
        kind = _kind(name)
        column = there.get(name, Column([None])).map(partial(_cell, kind))
        columns[name] = pa.array(column.spread(count), kind)
    return pa.table(columns)


def table(above: pa.Table, input_: str, job: JobSpec, asked_for: Sequence[str]) -> pa.Table:
    """What a stage's own rows are made of: a line for each row of its input.

    Args:
        above: the input's `Rows.heritage`.
        input_: the input's name.
        asked_for: `STAGE.NAME` that this stage or one after it uses.
    """
    stage = job.stage
    own = {axis.name for axis in (*job.axes, *job.zip)}
    ids_, paths, wide, high = (above.column(name).to_pylist() for name in ("id", "path", "wide", "high"))
    found = {
        stage.picture: pa.array([Parent(*one).name for one in zip(ids_, wide, high, paths, strict=True)], pa.string())
    }
    for name in above.column_names:
        if free(name) and name not in own:
            found[name] = above.column(name)
    for name in asked_for:
        at, _, field = name.partition(".")
        found[name] = above.column(field if at == input_ else name)
    for name, (at, field) in stage.taken.items():
        found[name] = above.column(field if at == input_ else f"{at}.{field}")
    return pa.table(found)


def needed(jobs: Sequence[JobSpec], stage: str) -> list[str]:
    """What later stages ask of the rows of one: parameters and free names of its own, and `STAGE.NAME` of those above.

    Args:
        jobs: all stages, in order.
    """
    inputs = {one.stage.name: one.stage.input for one in jobs}
    wanted: dict[str, None] = {}
    for one in jobs:
        line, at = [], one.stage.input
        while at is not None:
            line.append(at)
            at = inputs[at]
        if stage in line:
            for name in asked(one):
                above, _, own = name.partition(".")
                if above == stage:
                    wanted[own] = None
                elif line.index(above) > line.index(stage):
                    wanted[name] = None
    return [name for name in wanted if name not in _HEAD]


def asked(job: JobSpec) -> list[str]:
    """`STAGE.NAME` that a stage uses, in templates or as values."""
    taken = [f"{stage}.{name}" for stage, name in job.stage.taken.values()]
    return list(dict.fromkeys([*references.above(job), *taken]))


def _sizes(batch: Batch, names: Names) -> Column:
    """(width, height) of each row's picture."""
    given = batch.params
    mode = modes.get(given["mode"].values[0])
    picture = given[mode.PICTURE] if mode.PICTURE else Column([None])

    def size(model: str, revision: str | None, picture: Any, width: int, height: int, *values: Any) -> tuple[int, int]:
        params = dict(zip(mode.SIZED, values, strict=True))
        own = names.picture_size(picture) if picture is not None else (0, 0)
        return modes.made(mode, params, (width, height), own, names.model(model, revision)[2])

    sized = [given[name] for name in mode.SIZED]
    return merge([given["model"], given["revision"], picture, given["width"], given["height"], *sized], size)


def free(name: str) -> bool:
    """Whether a column is a free one."""
    return name not in PARAMETERS and name not in _HEAD and name not in _SIZE and "." not in name


def _kind(name: str) -> pa.DataType:
    parameter = PARAMETERS.get(name.rpartition(".")[2])
    return pa.string() if parameter is None else _KINDS[parameter.kind]


def _cell(kind: pa.DataType, value: Any) -> Any:
    if value is None or isinstance(value, str):
        return value
    if kind == pa.string():
        return json.dumps(value, sort_keys=True) if isinstance(value, (dict, list)) else ids.canonical(value)
    return value
