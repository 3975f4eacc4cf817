"""What a directory already holds, and whether it can stand: written another way, recorded before, failed before."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sdbatch import errors, plan, prepare
from sdbatch.plan.making import Lines
from sdbatch.spec import arrow
from sdbatch.spec.digests import Digests
from sdbatch.store import attempts
from sdbatch.store.directory import now
from sdbatch.store.manifest import Manifest
from sdbatch.types import DROPPED, Failure, Record, Row
from sdbatch.workers.dispatch import QUARANTINED, WORKER_DEATHS, WORKER_DIED

DEATHS = (QUARANTINED, WORKER_DIED)
"""Error classes of rows under which a worker died."""
_ALIASES = {"oom": "outofmemoryerror", "dropped": DROPPED.lower()}
"""What `--retry` takes for an error's class."""
_NAMED = ("filename", "format")
"""What of `output:` shows in a path."""
_BEFORE = {"watermark": None, "safety": "off", "c2pa": False}
"""What runs wrote by before `output:` had these keys."""


def written_by(job: prepare.Job) -> dict[str, Any]:
    """The part of `output:` that decides a file's name and bytes."""
    output = job.spec.output
    return {
        "filename": output.filename,
        "format": output.format,
        "quality": output.quality,
        "watermark": output.watermark,
        "safety": output.safety,
        "c2pa": output.c2pa is not None,
    }


def settle_output(job: prepare.Job, manifest: Manifest, rewrite: bool) -> None:
    """Rows written by another `output:` than now: refuse, or take them out so that they are made again.

    Raises:
        RefusedError: there are such rows, and they are not to be made again.
    """
    output = written_by(job)
    before = [wrote for run in job.directory.runs() if (wrote := {**_BEFORE, **_output(run, job)}) != output]
    if not before:
        return
    stale = _stale(job, manifest)
    if not len(stale):
        return
    if not rewrite:
        odd = [name for name in output if before[-1][name] != output[name]]
        said = "; ".join(f"{_key(name)} was {before[-1][name]!r}, now {output[name]!r}" for name in odd)
        raise errors.RefusedError(
            f"{job.directory.store.shown()}: {said}, and {len(stale)} rows are written the old way; "
            "--rewrite makes them again, or choose another --out"
        )
    paths = set(manifest.forget(stale))
    for path in paths.difference(manifest.read(["path"]).column("path").to_pylist()):
        job.directory.store.remove(path)


def make_plan(job: prepare.Job, manifest: Manifest, retry: bool | str) -> plan.Plan:
    """Plan what is left; a picture stands for another row alike in id only where its file can.

    Raises:
        RefusedError: a row would take the file name of another picture that was made before.
    """
    done, waiting = manifest.done(job.spec.stage.lines), held(manifest, retry)
    if (out := _dropped(manifest, retry)) is not None:
        done = done.with_more(out)
    planned = job.plan(done, waiting)
    _keep_pictures(job, manifest)
    if not len(planned.recorded):
        return planned
    rows = job.rows.take(planned.recorded)
    known = manifest.records([row.id for row in rows])
    wrote = _wrote(job)
    lost = sorted({row.id for row in rows if row.id not in known or not _stands(job, wrote, known[row.id], row)})
    if not lost:
        return planned
    return job.plan(done, waiting, Digests.of(arrow.texts(lost)))


def record_known(job: prepare.Job, manifest: Manifest, planned: plan.Plan, run: str) -> int:
    """Rows whose picture is there under another row: a line each, and a file where the name differs.

    Raises:
        StoreError: a picture went away in between.
    """
    if not len(planned.recorded):
        return 0
    rows = job.rows.take(planned.recorded)
    known = manifest.records([row.id for row in rows])
    lines: list[Record] = []
    for row in rows:
        line = known[row.id]
        if row.path != line["path"]:
            data = job.directory.store.read(line["path"])
            if data is None:
                raise errors.StoreError(f"{job.directory.store.shown(line['path'])}: in the manifest, but not there")
            job.directory.store.replace(row.path, data)
        free = {f"field_{name}": value for name, value in row.fields.items()}
        lines.append({**line, **free, "row": row.row, "path": row.path, "run": run, "finished_at": now()})
    manifest.commit(lines)
    return len(lines)


def count_deaths(job: prepare.Job, manifest: Manifest) -> None:
    """What workers had in hand when they died, or were killed, becomes a failure each, for `held` and `feared`."""
    store = job.directory.store
    latest = _latest(manifest)
    lost: list[Failure] = []
    for attempt in attempts.left(store):
        for identity, row in attempt.rows:
            before = latest[row]["attempt"] if row in latest and latest[row]["error"] in DEATHS else 0
            count = before + 1 if attempt.alone else 0
            error = QUARANTINED if count >= WORKER_DEATHS else WORKER_DIED
            company = "alone" if attempt.alone else f"one of {len(attempt.rows)}"
            message = f"its worker ended while it was in hand, {company}"
            lost.append(Failure(identity, row, count, error, message, now(), attempt.where))
    manifest.commit((), lost)
    attempts.clear(store)


def held(manifest: Manifest, retry: bool | str) -> Lines | None:
    """Ids and row keys of failed rows that are not to be tried again; None where all are.

    Args:
        retry: True tries all but those in quarantine; False none, but those that were only in hand when a worker
            died; a text those whose latest failure is of this class.
    """
    wanted = _ALIASES.get(retry.lower(), retry.lower()) if isinstance(retry, str) else None
    waiting = []
    for row, line in _latest(manifest).items():
        error = line["error"]
        if retry is True:
            keep = error == QUARANTINED
        elif wanted is None:
            keep = error != WORKER_DIED
        else:
            keep = error.lower() != wanted
        if keep:
            waiting.append((line["id"], row))
    if not waiting:
        return None
    ids, rows = (Digests.of(pa.array(keys, pa.string())) for keys in zip(*waiting, strict=True))
    return ids, rows


def _dropped(manifest: Manifest, retry: bool | str) -> Lines | None:
    """Ids and row keys of the rows that a guard dropped, unless they are asked for again; None where there are none."""
    if isinstance(retry, str) and _ALIASES.get(retry.lower(), retry.lower()) == _ALIASES["dropped"]:
        return None
    found = [(line["id"], row) for row, line in _latest(manifest).items() if line["error"] == DROPPED]
    if not found:
        return None
    ids, rows = (Digests.of(pa.array(keys, pa.string())) for keys in zip(*found, strict=True))
    return ids, rows


def feared(manifest: Manifest) -> frozenset[str]:
    """Ids of pictures under which a worker may have died: they are made last, and alone."""
    return frozenset(line["id"] for line in _latest(manifest).values() if line["error"] in DEATHS)


def _latest(manifest: Manifest) -> dict[str, dict[str, Any]]:
    """The latest failure of each row."""
    return {line["row"]: line for line in manifest.failures().sort_by("when").to_pylist()}


def _keep_pictures(job: prepare.Job, manifest: Manifest) -> None:
    """Refuse rows that would overwrite the picture of a row no longer asked for: its line stays, so must its file."""
    if job.rows.unique_names:
        return
    table = manifest.read(["path", "id"])
    if not table.num_rows:
        return
    names, ids = pc.utf8_lower(table.column("path").combine_chunks()), table.column("id").combine_chunks()
    count, example = 0, ""
    for batch in job.rows.batches():
        at = pc.index_in(pc.utf8_lower(batch.column("path")), value_set=names)
        other = pc.fill_null(pc.not_equal(batch.column("id"), ids.take(at)), False)
        lost = batch.column("path").filter(other)
        count += len(lost)
        example = example or (lost[0].as_py() if len(lost) else "")
    if count:
        raise errors.RefusedError(
            f"{job.directory.store.shown()}: {count} rows would overwrite pictures of other rows, such as {example}; "
            "add {id} or what changed to output.filename, or choose another --out"
        )


def _stands(job: prepare.Job, wrote: Mapping[str, Any], line: Record, row: Row) -> bool:
    asked = _bytes(written_by(job))
    alike = PurePosixPath(line["path"]).suffix == PurePosixPath(row.path).suffix
    return alike and wrote.get(line["run"], asked) == asked and job.directory.store.exists(line["path"])


def _wrote(job: prepare.Job) -> dict[str, dict[str, Any]]:
    """What each run wrote by, as far as a path does not show it."""
    return {run["run"]: _bytes({**_BEFORE, **_output(run, job)}) for run in job.directory.runs()}


def _output(run: Mapping[str, Any], job: prepare.Job) -> Mapping[str, Any]:
    """What a run wrote this stage's rows by."""
    found: Mapping[str, Any] = run.get("outputs", {}).get(job.spec.stage.name, run["output"])
    return found


def _key(name: str) -> str:
    """Where in a spec it stands."""
    return name if name == "safety" else f"output.{name}"


def _bytes(output: Mapping[str, Any]) -> dict[str, Any]:
    """What of `output:` does not show in a path."""
    return {name: value for name, value in output.items() if name not in _NAMED}


def _stale(job: prepare.Job, manifest: Manifest) -> pa.Array:
    """Row keys of done rows that this `output:` would name or encode otherwise."""
    table = manifest.read(["row", "path", "run"]).combine_chunks()
    wrote = _wrote(job)
    asked = _bytes(written_by(job))
    found = [pa.array([], pa.string())]
    for batch in job.rows.batches():
        at = pc.index_in(batch.column("row"), value_set=table.column("row").combine_chunks())
        mine, at = batch.filter(pc.is_valid(at)), at.filter(pc.is_valid(at))
        moved = pc.not_equal(mine.column("path"), table.column("path").combine_chunks().take(at)).to_numpy(False)
        runs = table.column("run").take(at).to_pylist()
        recoded = np.array([wrote.get(run, asked) != asked for run in runs], bool)
        found.append(mine.column("row").filter(pa.array(moved | recoded)))
    return pa.concat_arrays(found)
