"""A job's rows: `rows` x `zip` x `grid`, less `exclude`, and then `include`.

Rows are numbered, and any of them can be made from its number alone, so a plan of ten million rows
is an array of numbers and Python objects exist only for the rows in hand.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from operator import itemgetter
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sdbatch import modes
from sdbatch.errors import Problem, SpecError, UsageError
from sdbatch.parameters import PARAMETERS
from sdbatch.sources import parents
from sdbatch.spec import arrow, checks, hashers, hashing, heirs, ids, keys, templates
from sdbatch.spec.batch import Batch
from sdbatch.spec.blocks import TEMPLATED, Block, main_block, matches
from sdbatch.spec.columns import Column, Ints, merge
from sdbatch.spec.conditions import Condition
from sdbatch.spec.filling import Filler
from sdbatch.spec.problems import near
from sdbatch.spec.schema import ROWS_MAX, JobSpec
from sdbatch.types import Row

BATCH = 65_536


class Names(Protocol):
    """What the names in rows stand for."""

    def model(self, name: str, revision: str | None) -> keys.Model:
        """A model's content hash, own width and height, and kind."""

    def content(self, parameter: str, value: Any) -> Any:
        """A value with content hashes in place of the names in it."""

    def picture_size(self, value: Any) -> tuple[int, int]:
        """Width and height of a picture; (0, 0) where it cannot be read."""


_KEY = [("key", pa.dictionary(pa.int64(), pa.string())), ("width", pa.int32()), ("height", pa.int32())]
_DIGEST = pa.binary(hashing.DIGEST_BYTES)
OUTLINE = pa.schema([("index", pa.int64()), ("id", _DIGEST), *_KEY])
OUTLINE_LINES = pa.schema([("index", pa.int64()), ("id", _DIGEST), ("row", _DIGEST), *_KEY])
_TEXTS = [(name, pa.string()) for name in ("id", "row", "path", "key")]
SCHEMA = pa.schema([("index", pa.int64()), *_TEXTS, ("width", pa.int32()), ("height", pa.int32())])


class Rows:
    """The rows of a job.

    Args:
        job: the spec.
        table: the table that `job.rows` names, as read.
        names: finds models, fine-tunes and pictures.

    Raises:
        SpecError: a value is impossible for its row, or there are more than ROWS_MAX rows.
    """

    def __init__(self, job: JobSpec, table: pa.Table | None, names: Names) -> None:
        self._job, self._names = job, names
        main = main_block(job, table)
        # Without axes there is nothing to cross: `include` alone lists all the rows.
        only = bool(job.include) and not main.groups
        self._blocks = [*([] if only else [main]), *(Block({**job.values, **e}) for e in job.include)]
        self._main = None if only else main
        if (count := sum(block.size for block in self._blocks)) > ROWS_MAX:
            raise SpecError([self._problem("grid", f"makes {count:,} rows; at most {ROWS_MAX:,}")])
        self._starts = np.cumsum([0, *(block.size for block in self._blocks)])
        free = {name for block in self._blocks for name in block.constants}
        free |= {name for group in main.groups for name in group.columns}
        # `base.seed` is there for templates alone.
        self.fields = tuple(sorted(name for name in free - PARAMETERS.keys() if "." not in name))
        self._filename = templates.compile(job.output.filename)
        self._filler = Filler(job.wildcards, self._problem)
        self._extension = {"jpeg": "jpg"}.get(job.output.format, job.output.format)

    def __len__(self) -> int:
        """How many rows there are before `exclude`."""
        return sum(block.size for block in self._blocks)

    @property
    def unique_names(self) -> bool:
        """Whether a row's file name holds its id, so that two pictures cannot share one."""
        return "id" in self._filename.fields or self._job.values.get("mode") == modes.SCORE

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Stream the rows as Arrow: number, id, row key, path, batch key and size."""
        for part in self._hashed(lines=True):
            yield pa.record_batch(
                [
                    arrow.numbers(part.numbers),
                    *(arrow.texts(column) for column in (part.ids, part.rows, self._paths(part))),
                    arrow.texts(part.keys.spread(len(part.numbers))),
                    *self._sides(part),
                ],
                schema=SCHEMA,
            )

    def outline(self, lines: bool) -> Iterator[pa.RecordBatch]:
        """Stream what a plan is made of, in numbers: number, id, batch key and size.

        Args:
            lines: row keys too; without free columns they follow from the ids.
        """
        schema = OUTLINE_LINES if lines else OUTLINE
        for part in self._hashed(lines):
            if self._job.output.filename != "{id}":
                self._paths(part)  # says what cannot be filled
            key = arrow.dictionary(part.keys.values, part.keys.places(len(part.numbers)))
            digests = (arrow.binary(raw, _DIGEST) for raw in (part.digests if lines else (part.answer,)))
            columns = [arrow.numbers(part.numbers), *digests, key, *self._sides(part)]
            yield pa.RecordBatch.from_arrays(columns, schema=schema)

    def _hashed(self, lines: bool) -> Iterator[Batch]:
        """All rows, a batch at a time, their ids hashed, and with `lines` their row keys."""
        starts = range(0, len(self), BATCH)
        numbers = (np.arange(start, min(start + BATCH, len(self)), dtype=np.int64) for start in starts)
        parts = (part for some in numbers for part in self._make(some))
        with hashers.Hashers(hashers.fitting(len(self))) as processes:
            for part, answer in processes.ordered((part, part.lined() if lines else part.work) for part in parts):
                yield replace(part, answer=answer)

    def take(self, numbers: Sequence[int] | NDArray[np.int64]) -> list[Row]:
        """Make rows by number, in the order asked for."""
        wanted = np.asarray(numbers, np.int64)
        made: dict[int, Row] = {}
        for part in self._make(np.unique(wanted)):
            paths = self._paths(part)
            for at, number in enumerate(part.numbers.tolist()):
                made[number] = Row(
                    id=part.ids[at],
                    row=part.rows[at],
                    stage=part.stage,
                    path=paths[at],
                    params={name: column.at(at) for name, column in part.params.items()},
                    fields={name: column.at(at) for name, column in part.fields.items()},
                    templates={name: str(column.at(at)) for name, column in part.templates.items()},
                )
        return [made[number] for number in wanted.tolist()]

    def heritage(self, names: Sequence[str]) -> pa.Table:
        """What later stages ask of these rows, by number, ascending.

        Args:
            names: parameters, free columns, and `STAGE.NAME` of stages above.

        Returns:
            `index`, `id`, `row`, `path`, `wide` and `high` (the size of the picture), and a column for each of `names`.
        """
        parts = [pa.table({name: pa.array([], kind) for name, kind in heirs.kinds(names).items()})]
        parts += [heirs.part(batch, self._names, self._paths(batch), names) for batch in self._hashed(lines=True)]
        return pa.concat_tables(parts).sort_by("index")

    def matching(self, condition: Condition) -> NDArray[np.int64]:
        """Numbers of the rows for which a condition holds, ascending.

        Raises:
            ValueError: it reads what rows do not have, or compares what has no order.
        """
        kept = [np.array([], np.int64)]
        names = [*PARAMETERS, *self.fields]
        for name in condition.names:
            if name not in names:
                raise ValueError(f"rows have no {name!r}{near(name, names)}")
        for start in range(0, len(self), BATCH):
            for part in self._make(np.arange(start, min(start + BATCH, len(self)), dtype=np.int64)):
                values = [{**part.fields, **part.params}[name] for name in condition.names]
                found = merge(values, lambda *row: condition(dict(zip(condition.names, row, strict=True))))
                kept.append(part.numbers[np.array(found.spread(len(part.numbers)), np.bool_)])
        return np.sort(np.concatenate(kept))

    def _sides(self, part: Batch) -> Iterator[pa.Array]:
        for column in (part.params["width"], part.params["height"]):
            yield arrow.numbers(np.array(column.values, np.int32)[column.places(len(part.numbers))])

    def _make(self, numbers: NDArray[np.int64]) -> Iterator[Batch]:
        """Sorted numbers, cut where blocks and modes change."""
        for at, block in enumerate(self._blocks):
            low, high = self._starts[at], self._starts[at + 1]
            here = numbers[(numbers >= low) & (numbers < high)]
            if not len(here):
                continue
            columns = block.columns(here - low)
            if block is self._main and self._job.exclude:
                kept = ~matches(columns, self._job.exclude, len(here))
                here = here[kept]
                columns = {name: column.take(np.flatnonzero(kept)) for name, column in columns.items()}
            mode = columns.get("mode", Column([PARAMETERS["mode"].default]))
            for code, name in enumerate(mode.values):
                if mode.codes is None:
                    yield self._finish(here, {**columns, "mode": Column([name])})
                elif len(picks := np.flatnonzero(mode.codes == code)):
                    part = {key: column.take(picks) for key, column in columns.items()}
                    yield self._finish(here[picks], {**part, "mode": Column([name])})

    def _finish(self, numbers: NDArray[np.int64], columns: dict[str, Column]) -> Batch:
        count = len(numbers)
        given = {
            name: _filled(columns[name], parameter.default) if name in columns else Column([parameter.default])
            for name, parameter in PARAMETERS.items()
        }
        mode = self._mode(given["mode"].values[0])
        models = merge([given["model"], given["revision"]], self._names.model)
        self._check(mode, given, models)
        given |= self._sizes(mode, given, models)
        fields = {name: columns[name].map(_text) for name in self.fields if name in columns}
        written = {name: given[name] for name in TEMPLATED}
        given |= self._filler.fill(given, columns)
        full = {name: fields.get(name, Column([None])) for name in self.fields}
        return Batch(
            numbers=numbers,
            columns=columns,
            params=given,
            templates=written,
            fields=full,
            work=keys.pictures(mode.USES, given, models, self._names.content, count),
            keys=keys.batch_keys(mode.USES, given, models),
            stage=self._job.stage.name,
        )

    def _mode(self, name: str) -> modes.Mode:
        try:
            return modes.get(name)
        except UsageError as error:
            raise SpecError([self._problem("mode", str(error))]) from error

    def _sizes(self, mode: modes.Mode, given: Mapping[str, Column], models: Column) -> dict[str, Column]:
        """Width and height of each row, where a mode has the model or a picture decide."""
        picture = Column([(0, 0)]) if mode.PICTURE is None else given[mode.PICTURE].map(self._names.picture_size)

        def size(model: keys.Model, picture: tuple[int, int], *values: Any) -> tuple[int, int]:
            try:
                return mode.size(dict(zip(mode.SIZED, values, strict=True)), model[1], picture, model[2])
            except ValueError as error:
                raise SpecError([self._problem(mode.SIZED[-1], str(error))]) from error

        sizes = merge([models, picture, *(given[name] for name in mode.SIZED)], size)
        return {"width": sizes.map(itemgetter(0)), "height": sizes.map(itemgetter(1))}

    def _paths(self, part: Batch) -> list[str]:
        count = len(part.numbers)
        if part.params["mode"].values[0] == modes.SCORE:  # of the picture that it is about
            scored = part.params["image"].map(parents.read)
            return [
                f"images/{part.ids[at]}" if one is None else one.path for at, one in enumerate(scored.spread(count))
            ]
        if self._job.output.filename == "{id}":
            return [f"images/{name}.{self._extension}" for name in part.ids]
        columns = {**part.columns, **part.params}
        used = [name for name in self._filename.fields if name not in ("id", "row", "stage", "name")]
        lists = {name: columns[name].spread(count) if name in columns else [None] * count for name in used}
        paths = []
        if "id" in self._filename.fields:
            lists["id"] = part.ids
        if "row" in self._filename.fields:
            lists["row"] = part.rows
        for at in range(count):
            values = {name: values[at] for name, values in lists.items()}
            values |= {"stage": part.stage, "name": self._job.name}
            try:
                paths.append(f"images/{templates.file_name(self._filename, values)}.{self._extension}")
            except (KeyError, ValueError) as error:
                raise SpecError([self._problem("output.filename", f"cannot be filled: {error}")]) from error
        return paths

    def _check(self, mode: modes.Mode, given: Mapping[str, Column], models: Column) -> None:
        kinds = list(dict.fromkeys(model[2] for model in models.values))
        wrong = next(checks.problems(mode, given, kinds), None)
        if wrong:
            raise SpecError([self._problem(*wrong)])

    def _problem(self, key: str, message: str) -> Problem:
        path, lines = self._job.path, self._job.lines
        places = (key, f"grid.{key}", f"zip.{key}", "output" if key.startswith("output.") else "rows")
        line = next((lines[place] for place in places if place in lines), None)
        return Problem(os.path.relpath(path) if path else None, line, key, message)


def _filled(column: Column, default: Any) -> Column:
    """The default in place of what is missing; packed numbers are all there."""
    if isinstance(column.values, Ints):
        return column
    return column.map(lambda value: default if value is None else value)


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return ids.canonical(value)
