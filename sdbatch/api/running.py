"""Make what is left of a job."""

from __future__ import annotations

import hashlib
import math
import os
import sys
import uuid
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from sdbatch import errors, plan, prepare
from sdbatch.api import amounts, places, planning, settling
from sdbatch.render import device
from sdbatch.run import dispatch
from sdbatch.run.dispatch import WorkerDied
from sdbatch.run.pace import Pace
from sdbatch.spec import conditions, dump
from sdbatch.store import attempts
from sdbatch.store.manifest import Manifest
from sdbatch.types import LeaseResult


class Listener(Protocol):
    """Who is told how a run goes on."""

    def begin(self, planned: plan.Plan, left: int, directory: Path) -> None:
        """The run starts, with so many rows to render."""

    def rows(self, count: int) -> None:
        """A batch came to an end in this process."""

    def result(self, result: LeaseResult) -> None:
        """A lease was committed."""

    def say(self, text: str) -> None:
        """Something worth a line."""


@dataclass(frozen=True)
class RunOptions:
    """How a run is executed; nothing here changes a picture.

    Attributes:
        executor: auto, local or ray.
        limit: at most so many rows.
        where: only rows for which this holds; see `conditions`.
        max_failures: a number, or a share such as `5%`; None never stops.
        retry: whether rows that failed before are tried again; a text tries only that class of error.
        recycle: replace a Ray actor by a fresh one after so many leases; where `auto` decides, this asks for actors.
        deadline: when the run is to end, with a time zone: no lease is begun that cannot be finished by then, as far as
            is known how long they take, and then the batches in hand are the last.
        rewrite: make the rows that are done again, where `output:` is no longer what they were written by.
        hooks: whether those whom the spec names are told how it ends; None is an error where it names some.
    """

    executor: str = "auto"
    ray_address: str | None = None
    actors: int | None = None
    gpus_per_actor: float | None = None
    limit: int | None = None
    where: str | None = None
    max_failures: str | None = None
    retry: bool | str = True
    rewrite: bool = False
    recycle: int | None = None
    deadline: datetime | None = None
    hooks: bool | None = None

    def seconds_left(self) -> float:
        """Until the deadline."""
        return math.inf if self.deadline is None else (self.deadline - datetime.now(UTC)).total_seconds()


@dataclass(frozen=True)
class RunReport:
    """What a run came to."""

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
    schema: int = 1

    @property
    def exit_code(self) -> int:
        """The command's exit code."""
        if self.stopped:
            return errors.EXIT_INTERRUPTED
        late = errors.EXIT_TRY_LATER if self.timed_out else errors.EXIT_OK
        return errors.EXIT_ROWS_FAILED if self.failed else late


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
    _too_many(options.max_failures, 0)  # said before anything is written
    with job.directory.lock():
        job.directory.store.sweep()
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:6]}"
        manifest = job.directory.manifest(name, job.rows.fields)
        manifest.open()
        settling.count_deaths(job, manifest)
        settling.settle_output(job, manifest, options.rewrite)
        planned = settling.make_plan(job, manifest, options.retry)
        before = planned.left
        planned = _chosen(job, planned, options.where)
        limited = planned.left < before or (options.limit is not None and options.limit < planned.left)
        count = len(planned.order) if options.limit is None else min(options.limit, len(planned.order))
        # Before anything is written: what is asked of Ray may be more than there is.
        pool, workers = _pool(job, options, listener, stopping, name) if count else (None, 0)
        try:
            resolved = _job_yaml(job)
            about = {**_about(job, name, command), "spec_sha256": hashlib.sha256(resolved.encode()).hexdigest()}
            job.directory.begin(about, resolved)
            listener.begin(planned, count, job.directory.path)
            for note in planning.notes(job):
                job.directory.log("note", message=note)
                listener.say(note)
            recorded = settling.record_known(job, manifest, planned, name)
        except BaseException:
            if pool is not None:
                pool.close()
            raise
        outcome = dispatch.Outcome()
        if pool is not None:
            outcome = _dispatch(job, options, listener, stopping, manifest, planned, pool, workers)
        report = RunReport(
            directory=str(job.directory.path),
            rows=planned.rows,
            done=planned.done + outcome.made + recorded,
            made=outcome.made,
            failed=outcome.failed + planned.held,
            left=planned.rows - planned.done - outcome.made - recorded,
            retired=planned.retired,
            stopped=outcome.stopped or (stopping() and bool(count)),
            limited=limited,
            timed_out=options.deadline is not None and outcome.made + outcome.failed < count,
        )
        if job.directory.unlogged:
            listener.say(f"{job.directory.unlogged} events could not be added to log.jsonl: {job.directory.log_error}")
        attempts.clear(job.directory.store)  # of actors that died and were replaced
        job.directory.finish(name, {**asdict(report), "exit_code": report.exit_code})
        return report


def _chosen(job: prepare.Job, planned: plan.Plan, where: str | None) -> plan.Plan:
    """What is left of a plan for this run."""
    if where is None:
        return planned
    try:
        return planned.only(job.rows.matching(conditions.parse(where)))
    except ValueError as error:
        raise errors.UsageError(f"--where {where!r}: {error}") from error


def _pool(
    job: prepare.Job, options: RunOptions, listener: Listener, stopping: Callable[[], bool], name: str
) -> tuple[dispatch.Pool, int]:
    """The workers, and how many there are."""
    from sdbatch.run.task import Task

    task = Task(
        run=name,
        directory=job.directory.path.absolute(),
        base=job.spec.base,
        render=job.render,
        output=job.spec.output,
        memory=job.memory,
        pins=_commits(job),
        home=job.spec.fine_tunes,
        within=job.spec.links_within,
    )
    asked = (options.actors or 1) > 1 or bool(options.ray_address) or options.recycle is not None
    if options.executor == "ray" or (options.executor == "auto" and (asked or job.hardware.count > 1)):
        from sdbatch.run.ray import RayPool

        pool = RayPool(
            task,
            actors=options.actors,
            gpus_per_actor=options.gpus_per_actor,
            address=options.ray_address,
            recycle=options.recycle,
            on_event=listener.say,
        )
        return pool, len(pool)
    from sdbatch.run.local import LocalPool

    return LocalPool(task, lambda: stopping() or options.seconds_left() <= 0, listener.rows), 1


def _dispatch(
    job: prepare.Job,
    options: RunOptions,
    listener: Listener,
    stopping: Callable[[], bool],
    manifest: Manifest,
    planned: plan.Plan,
    pool: dispatch.Pool,
    workers: int,
) -> dispatch.Outcome:
    pace = Pace(workers, options.seconds_left)

    def commit(results: Sequence[LeaseResult]) -> None:
        records = [record for result in results for record in result.records]
        manifest.commit(records, [failure for result in results for failure in result.failures])
        for result in results:
            pace.heard(result)
            made, failed = len(result.records), result.failed
            job.directory.log("lease_done", lease=result.lease.number, made=made, failed=failed)
            listener.result(result)

    def died(death: WorkerDied) -> None:
        job.directory.log("worker_died", worker=death.worker, lease=death.lease.number, message=death.message)

    alone = settling.feared(manifest)
    leases = planned.leases(job.rows.take, workers, alone=alone, most=options.limit, batches=pace.batches)
    return dispatch.run(
        map(pace.given, leases),
        pool,
        commit,
        stopping=stopping,
        too_many=_too_many(options.max_failures, planned.rows),
        late=lambda: options.seconds_left() <= 0,
        on_death=died,
    )


def _about(job: prepare.Job, name: str, command: Sequence[str]) -> dict[str, Any]:
    from sdbatch import __version__

    return {
        "run": name,
        "job": job.spec.name,
        "spec": job.origin,
        "base": places.noted(job.directory.path, job.spec.base),
        "links_within": places.noted(job.directory.path, job.spec.links_base),
        "fine_tunes": None if job.spec.fine_tunes is None else places.noted(job.directory.path, job.spec.fine_tunes),
        "render": asdict(job.render),
        "output": settling.written_by(job),
        "device": job.hardware.kind,
        "memory": job.memory,
        "versions": {"sdbatch": __version__, "python": sys.version.split()[0], **device.versions()},
        "models": [{"name": m.name, "revision": m.revision, "hash": m.hash} for m in job.sources.models.found()],
        "command": list(command),
        "pid": os.getpid(),
    }


def _commits(job: prepare.Job) -> dict[str, str | None]:
    return {model.name: model.revision for model in job.sources.models.found()}


def _job_yaml(job: prepare.Job) -> str:
    """The spec as resolved; a hub model that is the same for all rows stands with its commit."""
    commit = _commits(job).get(job.spec.values.get("model", ""))
    axes = {axis.name for axis in (*job.spec.axes, *job.spec.zip)}
    spec = job.spec
    if commit and not axes & {"model", "revision"} and spec.rows is None:
        spec = replace(spec, values={**spec.values, "revision": commit})
    return dump.resolved(spec, job.render, job.directory.path)


def _too_many(limit: str | None, rows: int) -> Callable[[int], bool]:
    if limit is None:
        return lambda failed: False
    most = amounts.of("--max-failures", limit, rows)
    return lambda failed: failed > most
