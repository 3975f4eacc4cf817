"""From what a user names to what can be run: the spec, its rows, the directory, and how to render."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from sdbatch import plan, recipes
from sdbatch.errors import Problem, RefusedError, SpecError, StoreError
from sdbatch.plan import Plan
from sdbatch.plan.making import Lines
from sdbatch.render import device
from sdbatch.sources import files, remote
from sdbatch.sources.names import Sources
from sdbatch.spec import arrow, dates, load, templates
from sdbatch.spec.digests import Digests
from sdbatch.spec.grid import Rows
from sdbatch.spec.schema import TABLES, JobSpec
from sdbatch.store.directory import JOB, RunDirectory
from sdbatch.store.manifest import Done
from sdbatch.types import Render

SIDES = ("width", "height")


@dataclass(frozen=True)
class Job:
    """A job, ready to be planned.

    Attributes:
        origin: the spec's path, which with its name tells jobs apart.
        render: how; as the directory's first run fixed it where there was one.
        hardware: the device that this machine would use.
        memory: GiB that the batch table reads.
    """

    spec: JobSpec
    rows: Rows
    sources: Sources
    directory: RunDirectory
    origin: str
    render: Render
    hardware: device.Device
    memory: int

    def plan(self, done: Done, held: Lines | None = None, lost: Digests | None = None) -> plan.Plan:
        """Plan the rows that are not done nor held back; every row is checked on the way.

        Args:
            held: ids and row keys of rows that are not to be tried.
            lost: ids of pictures that cannot stand for another row.

        Raises:
            SpecError: a row is impossible, or two pictures would have one file name.
        """
        free = bool(self.rows.fields) or done.free
        made = self._made(done, held, lost, (free and len(done) > 0) or held is not None)
        if free and not len(done) and held is None and made.duplicates:
            made = self._made(done, held, lost, True)  # alike in id: whether in everything, row keys say
        self.sources.save()
        if not self.rows.unique_names:
            self._check_names()
        return made

    def _made(self, done: Done, held: Lines | None, lost: Digests | None, lines: bool) -> Plan:
        """The plan; without `lines` ids stand for row keys, which is half the work."""
        batches = self.rows.outline(lines)
        if self.spec.output.watermark:
            batches = self._watched(batches)
        known = plan.Known(
            done.lines() if lines else ((ids, ids) for ids, _ in done.lines()),
            () if held is None else (held,),
            Digests.of_bytes(b"") if lost is None else lost,
        )
        return plan.make(batches, len(self.rows), self.size, known)

    def size(self, key: str, width: int, height: int) -> int:
        """The batch shape of rows of this size."""
        return plan.batch_size(self.render, self.memory, width, height)

    def _watched(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """The rows, each checked for room for the watermark where its size is that of its picture."""
        from sdbatch.store import watermark  # and with it Pillow

        text = self.spec.output.watermark or ""
        named = {*self.spec.values, *(axis.name for axis in (*self.spec.axes, *self.spec.zip))}
        partial = {"tile", "padding_mask_crop"} & named  # these rows fail by themselves
        for batch in batches:
            sides = np.stack([arrow.values(batch.column(side)) for side in SIDES], axis=1)
            for width, height in [] if partial else np.unique(sides, axis=0).tolist():
                if wrong := watermark.problem(text, width, height):
                    line = self.spec.lines.get("output.watermark", self.spec.lines.get("output"))
                    raise SpecError([Problem(shown(Path(self.origin)), line, "output.watermark", wrong)])
            yield batch

    def _check_names(self) -> None:
        problems = []
        line = self.spec.lines.get("output.filename", self.spec.lines.get("output"))
        for pair in sorted(plan.colliding(self.rows.batches(), len(self.rows)))[:5]:
            one, other = self.rows.take(pair)
            if one.path.casefold() == other.path.casefold():
                message = f"rows {pair[0] + 1} and {pair[1] + 1} would both be {one.path!r}; add {{id}} or another axis"
                problems.append(Problem(shown(Path(self.origin)), line, "output.filename", message))
        if problems:
            raise SpecError(problems)


def job(
    path: Path,
    *,
    out: Path | None = None,
    overrides: Sequence[str] = (),
    model: str | None = None,
    allow_mixed: bool = False,
    adopt: bool = False,
) -> Job:
    """Read a spec, a table, or a run directory to continue.

    Args:
        out: the run directory, from the working directory; None is what the spec says.
        overrides: `KEY=VALUE` texts.
        allow_mixed: go on although pictures would be made another way than the directory's first.
        adopt: go on although another job began the directory.

    Raises:
        SpecError: the spec or its table is wrong.
        RefusedError: the directory was begun with other settings or by another job.
        UsageError: pictures cannot be signed as `output.c2pa` says.
    """
    source, out = _source(remote.located(path), out)
    spec = load.job(source, overrides, model=model, expand=recipes.expand)
    for one in (spec, *spec.later):
        if one.output.c2pa is not None:
            from sdbatch.store import c2pa

            c2pa.Signer(one.output.c2pa, one.base)  # said before anything is made
    directory = RunDirectory(out or default_directory(spec))
    _check_place(directory.path)
    begun = directory.runs()
    first = begun[0] if begun else None
    sources = Sources(
        spec.base,
        _pins(begun),
        spec.fine_tunes,
        spec.links_within,
        (spec.parents or directory.path).absolute(),
        None if spec.recipe is None else spec.recipe.hidden,
    )
    made = rows(spec, sources)
    origin = remote.url(source) or str(source.absolute())
    if spec.recipe is not None and spec.recipe.hidden is not None:
        origin = source.name  # of where things lie nothing is kept
    if first and not adopt and source.absolute() != (directory.path / JOB).absolute():
        _same_job(first, spec.name, origin, directory)
    render = _render(spec, first, allow_mixed, directory)
    hardware = device.describe(render.device)
    if first and hardware.kind != first["device"] and not allow_mixed:
        raise RefusedError(
            f"{directory.store.shown()}: begun on {first['device']!r}, this is {hardware.kind!r}; pictures could "
            "differ (--allow-mixed goes on all the same)"
        )
    memory = first["memory"] if first else hardware.memory
    return Job(spec, made, sources, directory, origin, render, hardware, memory)


def rows(spec: JobSpec, sources: Sources) -> Rows:
    """A job's rows, or those of a stage that no other feeds.

    Raises:
        SpecError: they are wrong, or the table that the spec names is.
    """
    if spec.rows is None:
        return Rows(spec, None if spec.recipe is None else spec.recipe.table, sources)
    from sdbatch.spec import tables

    return Rows(spec, tables.read(spec.rows, shown(spec.rows)), sources)


def _source(path: Path, out: Path | None) -> tuple[Path, Path | None]:
    if remote.url(path) is not None:
        if path.suffix.lower() in (".yaml", ".yml", *TABLES):
            return path, out
        out, path = out or path, remote.present(path / JOB).parent
    elif not path.is_dir():
        return path, out
    if not (path / JOB).is_file():
        raise SpecError(
            [Problem(str(path), None, "", f"no {JOB} in this directory; name a job spec or a run directory")]
        )
    return path / JOB, out or path


def _check_place(path: Path) -> None:
    try:
        wrong = "is a file; a run needs a directory" if path.exists() and not path.is_dir() else None
    except OSError as error:  # such as a name that is too long
        wrong = error.strerror or str(error)
    if wrong:
        raise StoreError(f"{path}: {wrong}")


def default_directory(spec: JobSpec) -> Path:
    """The run directory of a job that is not told another, as of today."""
    if not spec.output.dir:
        return Path("runs") / spec.name
    return files.at(
        spec.base, templates.compile(spec.output.dir).fill({"date": dates.today().isoformat(), "name": spec.name})
    )


def _pins(runs: Sequence[dict[str, Any]]) -> dict[str, str | None]:
    """The commit of each hub model, as the run that first used it found it."""
    return {model["name"]: model["revision"] for run in reversed(runs) for model in run["models"]}


def _same_job(first: dict[str, Any], name: str, origin: str, directory: RunDirectory) -> None:
    if (first["job"], first["spec"]) != (name, origin):
        raise RefusedError(
            f"{directory.store.shown()}: begun by job {first['job']!r} of {first['spec']}; "
            f"this is {name!r} of {origin}; choose another --out, or --adopt to go on here"
        )


def _render(spec: JobSpec, first: dict[str, Any] | None, allow_mixed: bool, directory: RunDirectory) -> Render:
    """The settings; what a directory's first run fixed holds for all."""
    given = dict(spec.render)
    if first is None:
        return device.settings(given)
    fixed = {name: first["render"][name] for name in (field.name for field in fields(Render))}
    asked = {name: value for name, value in given.items() if value != "auto"}
    wanted = asdict(device.settings({**fixed, **asked, **({} if "batch_size" in asked else {"batch_size": "auto"})}))
    if "batch_size" not in given:
        wanted["batch_size"] = fixed["batch_size"]
    odd = [name for name in fixed if wanted[name] != fixed[name] and name != "oom"]
    if odd and not allow_mixed:
        said = "; ".join(f"render.{name} was {_said(fixed[name])}, now {_said(wanted[name])}" for name in odd)
        raise RefusedError(
            f"{directory.store.shown()}: {said}; pictures could differ (--allow-mixed goes on all the same)"
        )
    return Render(**wanted)


def _said(value: Any) -> str:
    return "auto (a table by device and size)" if value == 0 and value is not False else json.dumps(value)


def shown(path: Path) -> str:
    """A path as a user would type it here."""
    if (url := remote.url(path)) is not None:
        return url
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def readable(path: Path) -> RunDirectory:
    """A directory that holds a run.

    Raises:
        StoreError: it does not.
    """
    directory = RunDirectory(path)
    if not directory.begun:
        raise StoreError(f"{path}: not a run directory (it has no {JOB})")
    return directory
