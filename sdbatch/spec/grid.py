"""A job's rows: `rows` x `zip` x `grid`, less `exclude`, and then `include`.

Rows are numbered, and any of them can be made from its number alone, so a plan of ten million rows
is an array of numbers and Python objects exist only for the rows in hand.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sdbatch import modes
from sdbatch.errors import Problem, SpecError, UsageError
from sdbatch.parameters import PARAMETERS, SEED_MAX
from sdbatch.spec import ids, templates
from sdbatch.spec.columns import Column, merge
from sdbatch.spec.schema import JobSpec
from sdbatch.types import Row

STAGE = "main"
ROWS_MAX = 1_000_000_000
BATCH = 65_536
SHARED = frozenset({"prompt", "negative_prompt", "seed", "guidance_scale"})
"""What may differ inside a batch: the shape of the computation does not depend on it."""

Resolve = Callable[[str, str | None], tuple[str, tuple[int, int], str]]
"""(model, revision) → (content hash, own width and height, kind)."""

SCHEMA = pa.schema(
    [
        ("index", pa.int64()),
        ("id", pa.string()),
        ("row", pa.string()),
        ("path", pa.string()),
        ("key", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
    ]
)


@dataclass(frozen=True)
class _Group:
    """Columns that advance together over `size` values."""

    size: int
    columns: Mapping[str, Any]


@dataclass(frozen=True)
class _Block:
    """Groups crossed with one another, the last fastest, over constants."""

    constants: Mapping[str, Any]
    groups: tuple[_Group, ...]
    literal: bool  # the prompts come from a table and are taken as they are

    @property
    def size(self) -> int:
        size = 1
        for group in self.groups:
            size *= group.size
        return size

    def columns(self, numbers: NDArray[np.int64]) -> dict[str, Column]:
        """The block's own columns for rows by number."""
        found = {name: Column([value]) for name, value in self.constants.items()}
        rest = numbers
        for group in reversed(self.groups):
            rest, local = np.divmod(rest, group.size)
            picks, codes = np.unique(local, return_inverse=True)
            for name, values in group.columns.items():
                found[name] = Column(_pick(values, picks), codes.astype(np.int64))
        return found


@dataclass(frozen=True)
class _Batch:
    """Rows in hand: every parameter and free column, and what follows from them."""

    numbers: NDArray[np.int64]
    params: Mapping[str, Column]
    fields: Mapping[str, Column]
    ids: Sequence[str]
    rows: Sequence[str]
    paths: Sequence[str]
    keys: Column


class Rows:
    """The rows of a job.

    Args:
        job: the spec.
        table: the table that `job.rows` names, as read.
        resolve: gives a model's content hash, size and kind.

    Raises:
        SpecError: a value is impossible for its row, or there are more than a thousand million rows.
    """

    def __init__(self, job: JobSpec, table: pa.Table | None, resolve: Resolve) -> None:
        self._job, self._resolve = job, resolve
        self._blocks = [_main_block(job, table), *(_Block({**job.values, **e}, (), False) for e in job.include)]
        self._starts = np.cumsum([0, *(block.size for block in self._blocks)])
        free = {name for block in self._blocks for name in block.constants}
        free |= {name for group in self._blocks[0].groups for name in group.columns}
        self.fields = tuple(sorted(free - PARAMETERS.keys()))
        self._filename = templates.compile(job.output.filename)
        self._extension = {"jpeg": "jpg"}.get(job.output.format, job.output.format)
        if len(self) > ROWS_MAX:
            raise SpecError([self._problem("grid", f"makes {len(self):,} rows; at most {ROWS_MAX:,}")])

    def __len__(self) -> int:
        """How many rows there are before `exclude`."""
        return sum(block.size for block in self._blocks)

    @property
    def unique_names(self) -> bool:
        """Whether a row's file name holds its id, so that two pictures cannot share one."""
        return "id" in self._filename.fields

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Stream the rows as Arrow: number, id, row key, path, batch key and size."""
        for start in range(0, len(self), BATCH):
            batch = self._make(np.arange(start, min(start + BATCH, len(self)), dtype=np.int64))
            for part in batch:
                count = len(part.numbers)
                yield pa.record_batch(
                    [
                        pa.array(part.numbers),
                        pa.array(part.ids, pa.string()),
                        pa.array(part.rows, pa.string()),
                        pa.array(part.paths, pa.string()),
                        pa.array(part.keys.spread(count), pa.string()),
                        pa.array(part.params["width"].spread(count), pa.int32()),
                        pa.array(part.params["height"].spread(count), pa.int32()),
                    ],
                    schema=SCHEMA,
                )

    def take(self, numbers: Sequence[int] | NDArray[np.int64]) -> list[Row]:
        """Make rows by number, in the order asked for."""
        wanted = np.asarray(numbers, np.int64)
        made: dict[int, Row] = {}
        for part in self._make(np.unique(wanted)):
            for at, number in enumerate(part.numbers.tolist()):
                made[number] = Row(
                    id=part.ids[at],
                    row=part.rows[at],
                    stage=STAGE,
                    path=part.paths[at],
                    params={name: column.at(at) for name, column in part.params.items()},
                    fields={name: column.at(at) for name, column in part.fields.items()},
                )
        return [made[number] for number in wanted.tolist()]

    def _make(self, numbers: NDArray[np.int64]) -> Iterator[_Batch]:
        """Sorted numbers, cut where blocks and modes change."""
        for at, block in enumerate(self._blocks):
            low, high = self._starts[at], self._starts[at + 1]
            here = numbers[(numbers >= low) & (numbers < high)]
            if not len(here):
                continue
            columns = block.columns(here - low)
            if at == 0 and self._job.exclude:
                kept = ~_matches(columns, self._job.exclude, len(here))
                here = here[kept]
                columns = {name: column.take(np.flatnonzero(kept)) for name, column in columns.items()}
            mode = columns.get("mode", Column([PARAMETERS["mode"].default]))
            for code, name in enumerate(mode.values):
                picks = np.arange(len(here)) if mode.codes is None else np.flatnonzero(mode.codes == code)
                if len(picks):
                    part = {key: column.take(picks) for key, column in columns.items()}
                    yield self._finish(here[picks], {**part, "mode": Column([name])}, block.literal)

    def _finish(self, numbers: NDArray[np.int64], columns: dict[str, Column], literal: bool) -> _Batch:
        count = len(numbers)
        given = {
            name: columns[name].map(lambda v, d=parameter.default: d if v is None else v)
            if name in columns
            else Column([parameter.default])
            for name, parameter in PARAMETERS.items()
        }
        mode = self._mode(given["mode"].values[0])
        models = merge([given["model"], given["revision"]], self._resolve)
        for at, side in ((0, "width"), (1, "height")):
            given[side] = merge([given[side], models], lambda value, model, at=at: value or model[1][at])
        fields = {name: columns[name].map(_text) for name in self.fields if name in columns}
        texts = {**columns, **given}
        for name in ("prompt", "negative_prompt"):
            if not (literal and name in columns and columns[name].codes is not None):
                given[name] = self._fill(name, texts)
        self._check(mode, given, models)
        identity = _ids(mode.USES, given, models, count)
        full = {name: fields.get(name, Column([None])) for name in self.fields}
        rows = _line_keys(identity, full, count)
        return _Batch(
            numbers=numbers,
            params=given,
            fields=full,
            ids=identity,
            rows=rows,
            paths=self._paths({**columns, **given}, identity, rows, count),
            keys=_keys(mode.USES, given, models),
        )

    def _mode(self, name: str) -> modes.Mode:
        try:
            return modes.get(name)
        except UsageError as error:
            raise SpecError([self._problem("mode", str(error))]) from error

    def _fill(self, name: str, columns: Mapping[str, Column]) -> Column:
        """Fill a prompt's fields, once a combination of the values that it names."""
        compiled = {text: templates.compile(text) for text in set(columns[name].values)}
        used = sorted({field for template in compiled.values() for field in template.fields} - {name})
        missing = [field for field in used if field not in columns]
        if missing and len(compiled) == 1:
            raise SpecError([self._problem(name, f"field {{{missing[0]}}} is not given in every row")])
        there = [field for field in used if field in columns]

        def fill(text: str, *values: Any) -> str:
            try:
                return compiled[text].fill(dict(zip(there, values, strict=True)))
            except (KeyError, ValueError) as error:
                raise SpecError([self._problem(name, f"{text!r} cannot be filled: {error}")]) from error

        return merge([columns[name], *(columns[field] for field in there)], fill)

    def _paths(self, columns: Mapping[str, Column], identity: Sequence[str], rows: Sequence[str], count: int) -> list[str]:
        if self._job.output.filename == "{id}":
            return [f"images/{name}.{self._extension}" for name in identity]
        used = [name for name in self._filename.fields if name not in ("id", "row", "stage", "name")]
        lists = {name: columns[name].spread(count) if name in columns else [None] * count for name in used}
        paths = []
        for at in range(count):
            values = {name: values[at] for name, values in lists.items()}
            values |= {"id": identity[at], "row": rows[at], "stage": STAGE, "name": self._job.name}
            try:
                paths.append(f"images/{templates.file_name(self._filename, values)}.{self._extension}")
            except (KeyError, ValueError) as error:
                raise SpecError([self._problem("output.filename", f"cannot be filled: {error}")]) from error
        return paths

    def _check(self, mode: modes.Mode, given: Mapping[str, Column], models: Column) -> None:
        """What one value cannot show: parameters of other modes, kinds of model, sizes."""
        name = given["mode"].values[0]
        for key, column in given.items():
            odd = [value for value in column.values if value != PARAMETERS[key].default]
            if odd and key not in mode.USES and key not in ("width", "height", "model", "mode"):
                raise SpecError([self._problem(key, f"mode {name} has no use for it")])
            if odd and key in mode.LATER:
                raise SpecError([self._problem(key, "is not supported yet")])
        for _, _, kind in models.values:
            if kind not in mode.KINDS:
                fits = ", ".join(mode.KINDS)
                raise SpecError([self._problem("model", f"is of kind {kind!r}; mode {name} needs: {fits}")])
        if any(not 0 <= seed <= SEED_MAX for seed in given["seed"].values):
            raise SpecError([self._problem("seed", f"is outside 0 to {SEED_MAX}")])

    def _problem(self, key: str, message: str) -> Problem:
        return Problem(str(self._job.path) if self._job.path else None, None, key, message)


def _main_block(job: JobSpec, table: pa.Table | None) -> _Block:
    groups = []
    if table is not None:
        groups.append(_Group(table.num_rows, {name: table.column(name) for name in table.column_names}))
    if job.zip:
        groups.append(_Group(len(job.zip[0].values), {axis.name: axis.values for axis in job.zip}))
    groups.extend(_Group(len(axis.values), {axis.name: axis.values}) for axis in job.axes)
    literal = table is not None and bool({"prompt", "negative_prompt"} & set(table.column_names))
    return _Block(dict(job.values), tuple(groups), literal)


def _pick(values: Any, picks: NDArray[np.int64]) -> list[Any]:
    if isinstance(values, pa.ChunkedArray):
        return list(values.take(pa.array(picks)).to_pylist())
    return [values[pick] for pick in picks.tolist()]


def _matches(columns: Mapping[str, Column], entries: Sequence[Mapping[str, Any]], count: int) -> NDArray[np.bool_]:
    """Rows that agree with every key of an entry."""
    hit = np.zeros(count, bool)
    for entry in entries:
        every = np.ones(count, bool)
        for name, wanted in entry.items():
            default = PARAMETERS[name].default if name in PARAMETERS else None
            column = columns.get(name, Column([default]))
            same = np.array([_same(value, wanted) for value in column.values])
            every &= same[column.codes] if column.codes is not None else same[0]
        hit |= every
    return hit


def _same(value: Any, wanted: Any) -> bool:
    return ids.canonical(value) == ids.canonical(wanted)


def _ids(uses: frozenset[str], given: Mapping[str, Column], models: Column, count: int) -> list[str]:
    """Ids of a batch; lines that all rows share are joined to the varying line that follows them."""
    width, height = (models.map(lambda model, at=at: model[1][at]) for at in (0, 1))
    lines: dict[str, Column] = {}
    for name in sorted(uses - {"revision"}):
        if name == "model":
            lines[name] = models.map(lambda model: ids.line("model", model[0]))
        elif name in ("width", "height"):
            own = width if name == "width" else height
            lines[name] = merge([given[name], own], lambda v, o, n=name: b"" if v == o else ids.line(n, v))
        else:
            default = PARAMETERS[name].default
            lines[name] = given[name].map(lambda v, n=name, d=default: b"" if v == d else ids.line(n, v))
    shared, varying = b"", []
    head: bytes | None = None
    for column in lines.values():
        if column.codes is None or len(set(column.values)) == 1:
            shared += column.values[0]
            continue
        if head is None:
            head, shared = shared, b""
        varying.append(column.map(lambda own, before=shared: before + own).spread(count))
        shared = b""
    varying.append([shared] * count)
    return ids.picture_ids(list(zip(*varying, strict=True)), head or b"")


def _line_keys(identity: Sequence[str], fields: Mapping[str, Column], count: int) -> list[str]:
    spread = [column.spread(count) for column in fields.values()]
    if not spread:
        return [ids.line_key(one, STAGE, {}) for one in identity]
    names = tuple(fields)
    lines = zip(*spread, strict=True)
    return [
        ids.line_key(one, STAGE, {n: v for n, v in zip(names, values, strict=True) if v is not None})
        for one, values in zip(identity, lines, strict=True)
    ]


def _keys(uses: frozenset[str], given: Mapping[str, Column], models: Column) -> Column:
    """The batch key: every used parameter but those a batch may mix, and whether guidance is on."""
    names = sorted(uses - SHARED - {"model", "revision"})
    guided = given["guidance_scale"].map(lambda value: value > 1)

    def key(model: tuple[str, tuple[int, int], str], on: bool, *values: Any) -> str:
        return json.dumps([model[0], on, *values], sort_keys=True)

    return merge([models, guided, *(given[name] for name in names)], key)


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return ids.canonical(value)
