"""Make what is left of a job."""

from __future__ import annotations

import hashlib
import os
import sys
import uuid
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import numpy as np

from sdbatch import errors, prepare, staging
from sdbatch.api import places, settling, summing, thinning, working
from sdbatch.api.working import Listener, RunOptions, Work, too_many
from sdbatch.render import device
from sdbatch.spec import dump
from sdbatch.spec.schema import JobSpec
from sdbatch.store import attempts


@dataclass(frozen=True)
class RunReport:
    """What a run came to.

    Attributes:
        left: rows that are asked for and not done.
        waiting: of those, rows of a later stage whose input is not there.
        dropped: rows that a recipe's guard dropped in this run; they count as done.
    """

    directory: str
    rows: int
    done: int
    made: int
    failed: int
    left: int
    retired: int
    stopped: bool
    limited: bool = False
    timed_out: bool = False
    waiting: int = 0
    dropped: int = 0
    schema: int = 1

    @property
    def exit_code(self) -> int:
        """The command's exit code."""
        if self.stopped:
            return errors.EXIT_INTERRUPTED
        late = errors.EXIT_TRY_LATER if self.timed_out else errors.EXIT_OK
        return errors.EXIT_ROWS_FAILED if self.failed else late

    def summary(self, seconds: float) -> str:
        """What came of a run that took so long, and how to go on with it, for people."""
        out = f", {self.dropped} dropped" if self.dropped else ""
        text = f"{self.made} made in {seconds:.1f} s, {self.failed} failed{out}, {self.left} left of {self.rows} rows"
        if self.stopped or self.timed_out:
            why = "stopped" if self.stopped else "the time is up"
            text += f"\n{why}; what is made is saved. To go on: sdbatch run {self.directory}"
        return text


def run(
    job: prepare.Job,
    options: RunOptions,
    listener: Listener,
    stopping: Callable[[], bool] = lambda: False,
    command: Sequence[str] = (),
) -> RunReport:
    """Make the rows of a job that are not made yet.

    Raises:
        BusyError: another run holds the directory.
        StoreError: the directory cannot be written.
        SpecError, ModelError, UsageError: the job cannot be run as it is.
    """
    too_many(options.max_failures, 0)  # said before anything is written
    with job.directory.lock():
        job.directory.store.sweep()
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:6]}"
        stages = staging.of(job)
        manifest = job.directory.manifest(name, staging.fields(stages))
        manifest.open()
        settling.count_deaths(job, manifest)
        for stage in stages:
            settling.settle_output(stage.job, manifest, options.rewrite)
        plans = [settling.make_plan(stage.job, manifest, options.retry) for stage in stages]
        staging.check_names(stages)
        work = Work(options, listener, stopping, manifest, name, partial(_begin, job, stages, name, command))
        for stage, whole in zip(stages, plans, strict=True):
            planned = whole
            if not stage.job.spec.stage.alone:
                planned = stage.planned(whole, staging.states(stages, manifest)[stages.index(stage)])
            work.stage(stage.job, planned)
            if work.ended:
                break
        report = _report(job, stages, work)
        if not report.left and not report.failed and (dropped := thinning.thin(job, manifest)):
            report = replace(report, dropped=report.dropped + dropped)
        if report.made or report.dropped or report.failed:
            summing.write(job, manifest)
        if job.directory.unlogged:
            listener.say(f"{job.directory.unlogged} events could not be added to log.jsonl: {job.directory.log_error}")
        attempts.clear(job.directory.store)  # of actors that died and were replaced
        job.directory.finish(name, {**asdict(report), "exit_code": report.exit_code})
        return report


def _report(job: prepare.Job, stages: Sequence[staging.Stage], work: Work) -> RunReport:
    """What a run came to."""
    rows, done, waiting, retired = work.rows, work.done, 0, work.retired
    if not job.spec.stage.alone:
        states = np.concatenate(staging.states(stages, work.manifest))
        rows, done = int((states != staging.OUT).sum()), int((states == staging.DONE).sum())
        waiting, retired = int((states == staging.WAITING).sum()), len(work.manifest.done()) - done
    return RunReport(
        directory=job.directory.store.shown(),
        rows=rows,
        done=done,
        made=work.made,
        failed=work.failed,
        left=rows - done,
        retired=retired,
        stopped=work.stopped,
        limited=work.limited,
        timed_out=work.timed_out,
        waiting=waiting,
        dropped=work.dropped,
    )


def _begin(job: prepare.Job, stages: Sequence[staging.Stage], name: str, command: Sequence[str]) -> None:
    """Write down that a run begins, and by what."""
    resolved = _job_yaml(job)
    about = {**_about(job, name, command), "spec_sha256": hashlib.sha256(resolved.encode()).hexdigest()}
    if not job.spec.stage.alone:
        about["outputs"] = {stage.name: settling.written_by(stage.job) for stage in stages}
    job.directory.begin(about, resolved)


def _about(job: prepare.Job, name: str, command: Sequence[str]) -> dict[str, Any]:
    from sdbatch import __version__

    hidden = job.spec.recipe is not None and job.spec.recipe.hidden is not None
    return {
        "run": name,
        "job": job.spec.name,
        "spec": job.origin,
        "base": places.noted(job.directory.path, job.spec.base, whole=not hidden),
        "links_within": places.noted(job.directory.path, job.spec.links_base, whole=not hidden),
        "fine_tunes": None if job.spec.fine_tunes is None else places.noted(job.directory.path, job.spec.fine_tunes),
        "parents": None if job.spec.parents is None else places.noted(job.directory.path, job.spec.parents),
        "render": asdict(job.render),
        "output": settling.written_by(job),
        "device": job.hardware.kind,
        "memory": job.memory,
        "versions": {"sdbatch": __version__, "python": sys.version.split()[0], **device.versions()},
        "models": [{"name": m.name, "revision": m.revision, "hash": m.hash} for m in job.sources.models.found()],
        "command": list(command[:2] if hidden else command),
        "pid": os.getpid(),
    }


def _job_yaml(job: prepare.Job) -> str:
    """The spec as resolved; a hub model that is the same for all rows of a stage stands with its commit."""
    commits = working.commits(job)

    def pinned(spec: JobSpec) -> JobSpec:
        commit = commits.get(spec.values.get("model", ""))
        axes = {axis.name for axis in (*spec.axes, *spec.zip)}
        if not commit or axes & {"model", "revision"} or spec.rows is not None:
            return spec
        return replace(spec, values={**spec.values, "revision": commit})

    spec = replace(pinned(job.spec), later=tuple(pinned(one) for one in job.spec.later))
    return dump.resolved(spec, job.render, job.directory.path)
