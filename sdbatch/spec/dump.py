"""JobSpec → YAML that means the same from another directory: what a run directory keeps as job.yaml."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from sdbatch.sources import finetunes
from sdbatch.spec.document import resolve
from sdbatch.spec.paths import NAMING, Move
from sdbatch.spec.recipes import Recipe
from sdbatch.spec.schema import Axis, JobSpec, Stage
from sdbatch.types import Output, Render

KEPT_FORMS = frozenset({"range", "linspace"})

# Breaks and controls that only double quotes keep as they are.
_ODD = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff]")


def resolved(job: JobSpec, render: Render, directory: Path) -> str:
    """The spec as resolved, to lie in `directory` and be run from there.

    Paths are rewritten to start from `directory`, but those in a table's cells, which is not ours to change:
    `rows_base` says where they start. Where rows name files, `links_within` says how far links lead. `file`, `glob`
    and `random` axes become lists, `range` and `linspace` stay. The top level's axes stand first in `grid:`, which
    means the same.
    """
    move = Move(job.base, Path(os.path.abspath(directory)))
    spec: dict[str, Any] = {"name": job.name}
    if job.later:
        spec["output"] = {"dir": "."}
        spec["stages"] = [{**_stage(one.stage), **_sections(one, move)} for one in (job, *job.later)]
        for one in spec["stages"]:
            del one["output"]["dir"]
    else:
        spec |= _sections(job, move)
    settings = dataclasses.asdict(render)
    spec["render"] = {name: value for name, value in settings.items() if value or value is False}
    spec |= {name: list(targets) for name, targets in job.hooks.items()}
    return yaml.dump(spec, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100, default_flow_style=None)


def _stage(stage: Stage) -> dict[str, Any]:
    """A stage's place among the others."""
    found: dict[str, Any] = {"name": stage.name}
    found |= {name: value for name, value in (("input", stage.input), ("when", stage.when)) if value is not None}
    if stage.top is not None:
        top = {name: value for name, value in dataclasses.asdict(stage.top).items() if value not in (None, ())}
        found["top"] = {name: list(value) if name == "per" else value for name, value in top.items()}
    return {**found, **{name: f"{{{above}.{own}}}" for name, (above, own) in stage.taken.items()}}


def _sections(job: JobSpec, move: Move) -> dict[str, Any]:
    """What a stage's rows are made of, and what is written."""
    spec: dict[str, Any] = {name: move.value(name, value) for name, value in job.values.items()}
    spec |= _places(job, move)
    for name in () if job.recipe is None else job.recipe.decides:
        spec.pop(name, None)
    for section, axes in (("zip", job.zip), ("grid", job.axes)):
        if axes:
            spec[section] = {axis.name: _axis(axis, move.value) for axis in axes}
    for section, entries in (("exclude", job.exclude), ("include", job.include)):
        if entries:
            spec[section] = [{name: move.value(name, value) for name, value in entry.items()} for entry in entries]
    spec["output"] = _output(job.output, move)
    if job.output.safety != "off":
        spec["safety"] = job.output.safety
    return spec


def _places(job: JobSpec, move: Move) -> dict[str, Any]:
    """The table and the folders that names are looked for in."""
    spec: dict[str, Any] = {}
    if job.rows is not None:
        spec["rows"] = move.path(str(job.rows))
        if job.cells_base != move.to:
            spec["rows_base"] = move.path(str(job.cells_base))
    if job.recipe is not None:
        spec |= _recipe(job.recipe, move)
    if job.links_base != move.to and (job.recipe is not None or job.rows is not None or _names_files(job)):
        spec["links_within"] = move.path(str(job.links_base))
    if job.parents is not None:
        spec["parents"] = move.path(str(job.parents))
    if job.wildcards is not None:
        spec["wildcards"] = move.path(str(job.wildcards))
    if finetunes.folders(job.names_base):
        spec["fine_tunes"] = move.path(str(job.names_base))
    return spec


def _recipe(recipe: Recipe, move: Move) -> dict[str, Any]:
    """The recipe as written: its rows follow from the data set each time."""
    own = dict(recipe.own)
    if recipe.hidden is None:  # else blanks stand for places
        own["input"] = move.file(own["input"])
    for key, value in own.items():
        if isinstance(value, dict) and value.get("clip_model"):
            own[key] = {**value, "clip_model": move.value("clip_model", value["clip_model"])}
    return {"recipe": recipe.name, **own}


def _names_files(job: JobSpec) -> bool:
    named = {
        *job.values,
        *(axis.name for axis in (*job.zip, *job.axes)),
        *(name for one in job.include for name in one),
    }
    return not named.isdisjoint(NAMING - {"model", "vae", "controlnet", "control_preprocessor"})


def _axis(axis: Axis, move: Callable[[str, Any], Any]) -> Any:
    if axis.source is not None and not KEPT_FORMS.isdisjoint(axis.source):
        return dict(axis.source)
    return [move(axis.name, value) for value in axis.values]


def _output(output: Output, move: Move) -> Mapping[str, Any]:
    given: dict[str, Any] = {"dir": ".", "filename": output.filename, "format": output.format}
    if output.quality is not None:
        given["quality"] = output.quality
    if output.save:
        given["save"] = list(output.save)
    if output.watermark is not None:
        given["watermark"] = output.watermark
    if output.c2pa is not None:
        given["c2pa"] = {name: move.file(path) for name, path in dataclasses.asdict(output.c2pa).items()}
    return given


class _Dumper(yaml.SafeDumper):
    """Quotes what YAML 1.1 or 1.2 would not read as text, and never writes aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: Any, value: str) -> Any:
    odd = _ODD.search(value) or not isinstance(resolve(value), str) or value == "<<"
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style='"' if odd else None)


_Dumper.add_representer(str, _text)
