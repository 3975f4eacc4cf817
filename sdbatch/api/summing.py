"""The report that a run of recipe augment leaves in its directory."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from sdbatch import prepare
from sdbatch.recipes import base
from sdbatch.report import dataset, samples
from sdbatch.spec import arrow
from sdbatch.store.manifest import Manifest

PAGE, DATA, SHEET = "report.md", "report.json", "samples.png"
RECIPE = "augment"
_COLUMNS = ("row", "path", "image", "control_image", "strength", "scores", "attempts", "field_variation")


def write(job: prepare.Job, manifest: Manifest) -> None:
    """Write `report.md`, `report.json` and `samples.png`, of what is made by now; nothing for other recipes.

    Raises:
        StoreError: the directory cannot be written.
    """
    recipe = job.spec.recipe
    if recipe is None or recipe.name != RECIPE:
        return
    label = base.named(str(recipe.own.get("label", "label")))
    columns = [f"field_{name}" for name in dict.fromkeys(("split", label)) if name in job.rows.fields]
    made = manifest.read([*_COLUMNS, *columns]).sort_by("row")
    made = made.filter(pc.is_in(made["row"], value_set=arrow.column(job.rows.batches(), "row")))  # not the retired ones
    found = dataset.summary(job.spec.name, label, made, *_rows(job, manifest, label, set(made["row"].to_pylist())))
    shown = _samples(job, made.to_pylist(), f"field_{label}")
    store = job.directory.store
    if shown:
        store.replace(SHEET, samples.draw(shown))
    store.replace(PAGE, dataset.markdown(found, SHEET if shown else None).encode())
    store.replace(DATA, (json.dumps(found.as_dict(), indent=1, ensure_ascii=False) + "\n").encode())


def _rows(
    job: prepare.Job, manifest: Manifest, label: str, made: set[str]
) -> tuple[dict[tuple[str, str], int], list[dataset.Lost]]:
    """Rows by split and class, and those that have no picture."""
    latest = {line["row"]: line for line in manifest.failures().sort_by("when").to_pylist()}
    asked: Counter[tuple[str, str]] = Counter()
    lost: list[dataset.Lost] = []
    for batch in job.rows.batches():
        for row in job.rows.take(batch.column("index").to_pylist()):
            split, of = (str(row.fields.get(name) or "") for name in ("split", label))
            asked[split, of] += 1
            if (failure := latest.get(row.row)) is not None and row.row not in made:
                lost.append(dataset.Lost(row.row, of, split, failure["error"], failure["message"]))
    return asked, lost


def _samples(job: prepare.Job, lines: list[dict[str, Any]], label: str) -> list[samples.Sample]:
    """The first parent of each class, and the first of its pictures."""
    parents: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        parents.setdefault(line["image"] or line["control_image"], []).append(line)
    found: dict[Any, samples.Sample] = {}
    for name, children in parents.items():
        of = children[0].get(label)
        if of in found or len(found) == samples.PARENTS:
            continue
        children.sort(key=lambda line: (int(line["field_variation"] or 0), line["row"]))
        shown = [(Path(job.directory.path, line["path"]), _said(line)) for line in children[: samples.CHILDREN]]
        found[of] = samples.Sample(str(of or ""), job.sources.inputs.path(name), shown)
    return list(found.values())


def _said(line: dict[str, Any]) -> str:
    scores = json.loads(line["scores"] or "{}")
    words = [] if line["strength"] is None else [f"strength {line['strength']:g}"]
    return ", ".join([*words, *(f"{name} {scores[name]:.2f}" for name in ("ssim", "clip_parent") if name in scores)])
