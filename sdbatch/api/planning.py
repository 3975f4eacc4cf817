"""What a run would do, and what is wrong with a spec; loads no model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from sdbatch import errors, modes, plan, prepare, staging
from sdbatch.render import safety
from sdbatch.store.manifest import Done, Manifest


@dataclass(frozen=True)
class PlanReport:
    """What a run would do.

    Attributes:
        cells: one entry a batch key: its parameters, rows, batches and batch shape; of a job with stages, its stage.
        stages: of a job with stages, each one's name, input, rows and what is to become of them. Rows that `when` and
            `top` may still leave out count as waiting.
        seconds: expected time for one worker, from earlier rates; None where there are none.
        bytes: expected size on disk of what is left; None where nothing is there to judge by.
        notes: what a run cannot do as asked, although it goes on.
    """

    job: str
    directory: str
    rows: int
    done: int
    left: int
    retired: int
    duplicates: int
    batches: int
    padded_share: float
    model_loads: int
    seconds: float | None
    bytes: int | None
    cells: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    stages: list[dict[str, Any]] = field(default_factory=list)
    schema: int = 1


def plan_job(job: prepare.Job) -> PlanReport:
    """Say what a run would do; loads no model."""
    stages = staging.of(job)
    manifest = job.directory.manifest(fields=staging.fields(stages))
    plans = [stage.job.plan(manifest.done(stage.job.spec.stage.lines)) for stage in stages]
    staging.check_names(stages)
    states = [] if job.spec.stage.alone else staging.states(stages, manifest)
    cells = [cell for stage, made in zip(stages, plans, strict=True) for cell in _cells(stage.job, made)]
    found = [_estimate(stage.job, manifest, made) for stage, made in zip(stages, plans, strict=True)]
    seconds = None if any(one is None for one, _ in found) else sum(one or 0.0 for one, _ in found)
    size = None if any(one is None for _, one in found) else sum(one or 0 for _, one in found)
    out = sum(int((one == staging.OUT).sum()) for one in states)
    places = sum(cell.batches * cell.size for made in plans for cell in made.kinds)
    pictures = sum(cell.pictures for made in plans for cell in made.kinds)
    done = sum(made.done for made in plans)
    return PlanReport(
        job=job.spec.name,
        directory=job.directory.store.shown(),
        rows=sum(made.rows for made in plans) - out,
        done=done,
        left=sum(made.left for made in plans) - sum(int((one == staging.OUT).sum()) for one in states),
        retired=sum(made.retired for made in plans) if job.spec.stage.alone else len(manifest.done()) - done,
        duplicates=sum(made.duplicates for made in plans),
        batches=sum(made.batches for made in plans),
        padded_share=round(1 - pictures / places if places else 0.0, 4),
        model_loads=sum(made.model_loads for made in plans),
        seconds=seconds,
        bytes=size,
        cells=cells,
        notes=[
            *unnamed(job),
            *([note for stage in stages for note in notes(stage.job)][:1] if len(stages) > 1 else notes(job)),
        ],
        stages=[_stage(stages, at, states[at]) for at in range(len(states))],
    )


def _cells(job: prepare.Job, made: plan.Plan) -> Iterator[dict[str, Any]]:
    """What a stage's batches are."""
    stage = {} if job.spec.stage.alone else {"stage": job.spec.stage.name}
    for cell, here in made.slices():
        first = job.rows.take(made.order[here.start : here.start + 1].tolist())[0].params
        names = ("model", "mode", "width", "height", "steps", "scheduler")
        about = {name: first[name] for name in names}
        yield {**stage, **about, "rows": cell.rows, "batches": cell.batches, "batch_size": cell.size}


def _stage(stages: Sequence[staging.Stage], at: int, state: NDArray[np.int8]) -> dict[str, Any]:
    """A stage's place in the tree, and its rows by state."""
    spec = stages[at].job.spec.stage
    states = {"done": staging.DONE, "ready": staging.READY, "waiting": staging.WAITING, "left_out": staging.OUT}
    top = (
        None if spec.top is None else {key: value for key, value in asdict(spec.top).items() if value not in (None, ())}
    )
    counts = {name: int((state == value).sum()) for name, value in states.items()}
    return {"name": spec.name, "input": spec.input, "when": spec.when, "top": top, "rows": len(state), **counts}


def notes(job: prepare.Job) -> list[str]:
    """What a run of a planned job cannot do as asked, although it goes on."""
    if job.spec.output.safety == "off":
        return []
    unchecked = [model.name for model in job.sources.models.found() if not safety.present(model.path)]
    return [f"safety: model {name!r} has no safety checker, so its pictures get no verdict" for name in unchecked]


def unnamed(job: prepare.Job) -> list[str]:
    """A line where the job names no model, which people who want their own should hear of."""
    spec = job.spec
    named = "model" in spec.values or any(axis.name == "model" for axis in (*spec.axes, *spec.zip))
    if named or spec.rows is not None or spec.stage.input is not None or not len(job.rows):
        return []
    params = job.rows.take([0])[0].params
    if "model" not in modes.get(params["mode"]).USES:
        return []
    return [f"no model is named: `{params['model']}` is used, a small one that comes along and knows a few shapes"]


def validate(path: Path, overrides: Sequence[str] = ()) -> list[errors.Problem]:
    """Every mistake in a spec and its rows; none when it is sound."""
    try:
        stages = staging.of(prepare.job(path, overrides=overrides, allow_mixed=True, adopt=True))
        for stage in stages:
            stage.job.plan(Done())
        staging.check_names(stages)
    except errors.SpecError as error:
        return error.problems
    except errors.ModelError as error:
        return [errors.Problem(str(path), None, "model", str(error))]
    return []


def _estimate(job: prepare.Job, manifest: Manifest, made: plan.Plan) -> tuple[float | None, int | None]:
    """Seconds for one worker and bytes on disk, by the mean of what this directory already holds."""
    table = manifest.read(["seconds", "path", "stage"])
    if job.spec.stage.lines is not None:
        table = table.filter(pc.equal(table.column("stage"), job.spec.stage.lines))
    if not table.num_rows or not made.left:
        return (0.0, 0) if not made.left else (None, None)
    seconds = float(pc.mean(table.column("seconds")).as_py()) * len(made.order)
    sizes = []
    for path in table.column("path").to_pylist()[:100]:
        if (size := job.directory.store.size(path)) is not None:
            sizes.append(size)
    return round(seconds, 1), int(sum(sizes) / len(sizes) * made.left) if sizes else None
