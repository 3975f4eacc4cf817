"""What a run would do, and what is wrong with a spec; loads no model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from sdbatch import errors, plan, prepare
from sdbatch.render import safety
from sdbatch.store.manifest import Done, Manifest


@dataclass(frozen=True)
class PlanReport:
    """What a run would do.

    Attributes:
        cells: one entry a batch key: its parameters, rows, batches and batch shape.
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
    schema: int = 1


def plan_job(job: prepare.Job) -> PlanReport:
    """Say what a run would do; loads no model."""
    manifest = job.directory.manifest(fields=job.rows.fields)
    made = job.plan(manifest.done())
    seconds, size = _estimate(job, manifest, made)
    cells = []
    for cell, here in made.slices():
        first = job.rows.take(made.order[here.start : here.start + 1].tolist())[0].params
        names = ("model", "mode", "width", "height", "steps", "scheduler")
        about = {name: first[name] for name in names}
        cells.append({**about, "rows": cell.rows, "batches": cell.batches, "batch_size": cell.size})
    return PlanReport(
        job=job.spec.name,
        directory=str(job.directory.path),
        rows=made.rows,
        done=made.done,
        left=made.left,
        retired=made.retired,
        duplicates=made.duplicates,
        batches=made.batches,
        padded_share=round(made.padded_share, 4),
        model_loads=made.model_loads,
        seconds=seconds,
        bytes=size,
        cells=cells,
        notes=notes(job),
    )


def notes(job: prepare.Job) -> list[str]:
    """What a run of a planned job cannot do as asked, although it goes on."""
    if job.spec.output.safety == "off":
        return []
    unchecked = [model.name for model in job.sources.models.found() if not safety.present(model.path)]
    return [f"safety: model {name!r} has no safety checker, so its pictures get no verdict" for name in unchecked]


def validate(path: Path, overrides: Sequence[str] = ()) -> list[errors.Problem]:
    """Every mistake in a spec and its rows; none when it is sound."""
    try:
        prepare.job(path, overrides=overrides, allow_mixed=True, adopt=True).plan(Done())
    except errors.SpecError as error:
        return error.problems
    except errors.ModelError as error:
        return [errors.Problem(str(path), None, "model", str(error))]
    return []


def _estimate(job: prepare.Job, manifest: Manifest, made: plan.Plan) -> tuple[float | None, int | None]:
    """Seconds for one worker and bytes on disk, by the mean of what this directory already holds."""
    table = manifest.read(["seconds", "path"])
    if not table.num_rows or not made.left:
        return (0.0, 0) if not made.left else (None, None)
    seconds = float(pc.mean(table.column("seconds")).as_py()) * len(made.order)
    sizes = []
    for path in table.column("path").to_pylist()[:100]:
        try:
            sizes.append((job.directory.path / path).stat().st_size)
        except OSError:
            continue
    return round(seconds, 1), int(sum(sizes) / len(sizes) * made.left) if sizes else None
