"""A job's stages: each one's rows, made from those of its input before anything is rendered, and which can be made.

The rows of a stage follow from the spec alone, one for each row of its input, crossed with the stage's own axes. What
records decide is only which of them are asked for (`when`, `top`), and what is there which can be made now.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sdbatch import modes, plan, prepare
from sdbatch.errors import Problem, SpecError
from sdbatch.plan import Plan
from sdbatch.spec import arrow, conditions, heirs, selecting
from sdbatch.spec.grid import Rows
from sdbatch.spec.schema import JobSpec
from sdbatch.store.manifest import Manifest, described

READY, DONE, WAITING, OUT = range(4)
"""A row's state: it can be made, it is there, its parent is not there yet, or `when` or `top` leave it out."""


@dataclass(frozen=True)
class Stage:
    """One stage of a job.

    Attributes:
        job: the stage as a job of its own, in the directory of all.
        parent: which of the stages its input is; None makes rows of its own.
        above: how many rows the input has.
    """

    job: prepare.Job
    parent: int | None = None
    above: int = 0
    wanted: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """As the spec calls it."""
        return self.job.spec.stage.name

    @cached_property
    def rows(self) -> pa.Table:
        """See `Rows.heritage`."""
        return self.job.rows.heritage(self.wanted)

    @cached_property
    def parents(self) -> NDArray[np.int64]:
        """Which row of the input each row is made from."""
        each = len(self.job.rows) // max(self.above, 1)
        return numbers(self.rows) // max(each, 1)

    def planned(self, whole: Plan, states: NDArray[np.int8]) -> Plan:
        """A plan of all rows, less those that are not asked for or cannot be made yet."""
        here = numbers(self.rows)
        return replace(whole.only(here[states == READY]), rows=int((states != OUT).sum()))


def numbers(table: pa.Table) -> NDArray[np.int64]:
    """The rows' numbers."""
    found: NDArray[np.int64] = arrow.values(table.column("index").combine_chunks())
    return found


def of(job: prepare.Job) -> list[Stage]:
    """The stages of a job, in order; of a job without stages the one that it is.

    Raises:
        SpecError: a row of a stage that is another's input is impossible.
    """
    specs = [job.spec, *job.spec.later]
    found: list[Stage] = []
    for spec in specs:
        wanted = tuple([*heirs.needed(specs, spec.stage.name), *_free(specs, found, spec)])
        at = next((at for at, one in enumerate(found) if one.name == spec.stage.input), None)
        if at is None:
            found.append(Stage(job if spec is job.spec else _own(job, spec), wanted=wanted))
            continue
        above = found[at].rows
        asked = [name for name in dict.fromkeys([*heirs.asked(spec), *wanted]) if "." in name]
        table = heirs.table(above, found[at].name, spec, asked)
        rows = Rows(spec, table, job.sources)
        found.append(Stage(replace(job, spec=spec, rows=rows), at, above.num_rows, wanted))
    return found


def _own(job: prepare.Job, spec: JobSpec) -> prepare.Job:
    """A later stage that has no input."""
    return replace(job, spec=spec, rows=prepare.rows(spec, job.sources))


def _free(specs: Sequence[JobSpec], before: Sequence[Stage], spec: JobSpec) -> list[str]:
    """The free columns that stages below inherit."""
    if all(one.stage.input != spec.stage.name for one in specs):
        return []
    names = {axis.name for axis in (*spec.axes, *spec.zip)} | {name for entry in spec.include for name in entry}
    if spec.rows is not None:
        from sdbatch.spec import tables

        names |= set(tables.columns(spec.rows))
    names |= {name for one in before if one.name == spec.stage.input for name in one.wanted if "." not in name}
    return sorted(name for name in names if heirs.free(name))


def fields(stages: Sequence[Stage]) -> tuple[str, ...]:
    """The free columns of all stages."""
    return tuple(sorted({name for stage in stages for name in stage.job.rows.fields}))


def check_names(stages: Sequence[Stage]) -> None:
    """See that no two stages give one file name to different pictures.

    Raises:
        SpecError: they do.
    """
    if len(stages) < 2 or all(stage.job.rows.unique_names for stage in stages):
        return
    starts = np.cumsum([0, *(len(stage.job.rows) for stage in stages)])

    def batches() -> Iterator[pa.RecordBatch]:
        for start, stage in zip(starts.tolist(), stages, strict=False):
            if stage.job.spec.values.get("mode") == modes.SCORE:
                continue  # it names other stages' pictures
            for batch in stage.job.rows.batches():
                moved = arrow.numbers(arrow.values(batch.column("index")) + start)
                yield batch.set_column(0, "index", moved)

    for pair in sorted(plan.colliding(batches(), int(starts[-1])))[:1]:
        places = [int(np.searchsorted(starts, number, "right")) - 1 for number in pair]
        one, other = (
            stages[at].job.rows.take([number - int(starts[at])])[0] for at, number in zip(places, pair, strict=True)
        )
        if one.path.casefold() == other.path.casefold():
            spec = stages[places[1]].job.spec
            line = spec.lines.get("output.filename", spec.lines.get("output"))
            message = f"stages {one.stage!r} and {other.stage!r} would both write {one.path!r}; add {{stage}} or {{id}}"
            file = prepare.shown(spec.path) if spec.path else None
            raise SpecError([Problem(file, line, "output.filename", message)])


def states(stages: Sequence[Stage], manifest: Manifest) -> list[NDArray[np.int8]]:
    """The state of every row of every stage, as the manifest has it.

    Raises:
        StoreError: a part cannot be read.
        SpecError: `when` or `top` names what records do not have.
    """
    keys = manifest.read(["row"]).column("row").combine_chunks()
    found: list[NDArray[np.int8]] = []
    for stage in stages:
        there = pc.is_in(stage.rows.column("row").combine_chunks(), value_set=keys)
        done = np.array(there.to_pylist(), bool)
        state = np.where(done, DONE, READY).astype(np.int8)
        if stage.parent is not None:
            above = _passed(stages[stage.parent], found[stage.parent], stage.job.spec, manifest)[stage.parents]
            state[above != DONE] = WAITING
            state[above == OUT] = OUT
        found.append(state)
    return found


def _passed(input_: Stage, state: NDArray[np.int8], spec: JobSpec, manifest: Manifest) -> NDArray[np.int8]:
    """The states of a stage's input as the stage sees them: what `when` and `top` leave out is out."""
    stage = spec.stage
    if stage.when is None and stage.top is None:
        return state
    table = manifest.read()
    lines = table.filter(pc.equal(table.column("stage"), input_.name)).to_pylist()
    by_row: Mapping[str, Mapping[str, Any]] = {line["row"]: described(line) for line in lines}
    keys = input_.rows.column("row").to_pylist()
    records = [by_row[key] if at == DONE else None for key, at in zip(keys, state.tolist(), strict=True)]
    seen = state.copy()
    try:
        if stage.when is not None:
            condition = conditions.parse(stage.when)
            failed = [one is not None and not condition(selecting.read(one, condition.names)) for one in records]
            seen[np.array(failed, bool)] = OUT
            records = [None if out else one for one, out in zip(records, failed, strict=True)]
        if stage.top is not None:
            pending = (seen == READY) | (seen == WAITING)
            seen = _topped(seen, selecting.top(records, pending.tolist(), keys, stage.top))
    except ValueError as error:
        key = "top" if stage.top is not None and "top" in str(error) else "when"
        line = spec.lines.get(key)
        file = prepare.shown(spec.path) if spec.path else None
        raise SpecError([Problem(file, line, f"stages.{stage.name}.{key}", str(error))]) from error
    return seen


def _topped(seen: NDArray[np.int8], chosen: Sequence[bool | None]) -> NDArray[np.int8]:
    """Rows that are not among the best are out; None is not known yet."""
    for at, one in enumerate(chosen):
        if seen[at] == DONE and one is not True:
            seen[at] = WAITING if one is None else OUT
    return seen
