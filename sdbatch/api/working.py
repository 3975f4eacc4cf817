"""One run over the stages of a job: workers for each, leases out, records in."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from sdbatch import errors, plan, prepare
from sdbatch.api import amounts, planning, settling
from sdbatch.sources import remote
from sdbatch.spec import conditions
from sdbatch.store.manifest import Manifest
from sdbatch.types import LeaseResult
from sdbatch.workers import dispatch
from sdbatch.workers.dispatch import WorkerDied
from sdbatch.workers.pace import Pace


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


@dataclass
class Work:
    """One run.

    Attributes:
        begin: writes down that the run begins; called once, before anything is made.
        rows, done, retired: of the latest stage.
        made, failed, dropped: of all stages.
        stopped, limited, timed_out: whether the run came to its end before its work did, and why.
    """

    options: RunOptions
    listener: Listener
    stopping: Callable[[], bool]
    manifest: Manifest
    name: str
    begin: Callable[[], None]
    begun: bool = False
    rows: int = 0
    done: int = 0
    retired: int = 0
    made: int = 0
    failed: int = 0
    dropped: int = 0
    stopped: bool = False
    limited: bool = False
    timed_out: bool = False

    @property
    def ended(self) -> bool:
        """Whether no further stage is to begin."""
        limit = self.options.limit
        return self.stopped or self.timed_out or self.stopping() or (limit is not None and self.made >= limit)

    def stage(self, job: prepare.Job, planned: plan.Plan) -> None:
        """Make what a plan has left."""
        before, room = planned.left, None if self.options.limit is None else self.options.limit - self.made
        planned = _chosen(job, planned, self.options.where)
        self.limited |= planned.left < before or (room is not None and room < planned.left)
        count = len(planned.order) if room is None else min(room, len(planned.order))
        # Before anything is written: what is asked of Ray may be more than there is.
        pool, workers = self._pool(job) if count else (None, 0)
        try:
            self._begin(job, planned, count)
            recorded = settling.record_known(job, self.manifest, planned, self.name)
        except BaseException:
            if pool is not None:
                pool.close()
            raise
        outcome = dispatch.Outcome()
        if pool is not None:
            outcome = self._dispatch(job, planned, pool, workers, room)
        settled = outcome.made + outcome.dropped
        self.rows, self.done, self.retired = planned.rows, planned.done + settled + recorded, planned.retired
        self.made += outcome.made
        self.dropped += outcome.dropped
        self.failed += outcome.failed + planned.held
        self.stopped |= outcome.stopped or (self.stopping() and bool(count))
        self.timed_out |= self.options.deadline is not None and settled + outcome.failed < count

    def _begin(self, job: prepare.Job, planned: plan.Plan, count: int) -> None:
        if not self.begun:
            self.begin()
            self.begun = True
        if not job.spec.stage.alone:
            self.listener.say(f"stage {job.spec.stage.name}")
        self.listener.begin(planned, count, job.directory.path)
        for note in planning.unnamed(job) if count else ():
            self.listener.say(note)
        for note in planning.notes(job):
            job.directory.log("note", message=note)
            self.listener.say(note)

    def _pool(self, job: prepare.Job) -> tuple[dispatch.Pool, int]:
        """The workers, and how many there are."""
        from sdbatch.workers.task import Task

        task = Task(
            run=self.name,
            directory=remote.sent(job.directory.path),
            base=remote.sent(job.spec.base),
            render=job.render,
            output=job.spec.output,
            memory=job.memory,
            pins=commits(job),
            home=None if job.spec.fine_tunes is None else remote.sent(job.spec.fine_tunes),
            within=None if job.spec.links_within is None else remote.sent(job.spec.links_within),
            parents=None if job.spec.parents is None else remote.sent(job.spec.parents),
            guard=None if job.spec.recipe is None else job.spec.recipe.guard,
            hidden=None if job.spec.recipe is None else job.spec.recipe.hidden,
        )
        asked = (self.options.actors or 1) > 1 or bool(self.options.ray_address) or self.options.recycle is not None
        if self.options.executor == "ray" or (self.options.executor == "auto" and (asked or job.hardware.count > 1)):
            from sdbatch.workers.ray import RayPool

            pool = RayPool(
                task,
                actors=self.options.actors,
                gpus_per_actor=self.options.gpus_per_actor,
                address=self.options.ray_address,
                recycle=self.options.recycle,
                on_event=self.listener.say,
            )
            return pool, len(pool)
        from sdbatch.workers.local import LocalPool

        return LocalPool(task, lambda: self.stopping() or self.options.seconds_left() <= 0, self.listener.rows), 1

    def _dispatch(
        self, job: prepare.Job, planned: plan.Plan, pool: dispatch.Pool, workers: int, room: int | None
    ) -> dispatch.Outcome:
        pace = Pace(workers, self.options.seconds_left)

        def commit(results: Sequence[LeaseResult]) -> None:
            records = [record for result in results for record in result.records]
            self.manifest.commit(records, [failure for result in results for failure in result.failures])
            for result in results:
                pace.heard(result)
                made, failed = len(result.records), result.failed
                job.directory.log("lease_done", lease=result.lease.number, made=made, failed=failed)
                self.listener.result(result)

        def died(death: WorkerDied) -> None:
            job.directory.log("worker_died", worker=death.worker, lease=death.lease.number, message=death.message)

        alone = settling.feared(self.manifest)
        leases = planned.leases(job.rows.take, workers, alone=alone, most=room, batches=pace.batches)
        return dispatch.run(
            map(pace.given, leases),
            pool,
            commit,
            stopping=self.stopping,
            too_many=too_many(self.options.max_failures, planned.rows),
            late=lambda: self.options.seconds_left() <= 0,
            on_death=died,
        )


def _chosen(job: prepare.Job, planned: plan.Plan, where: str | None) -> plan.Plan:
    """What is left of a plan for this run."""
    if where is None:
        return planned
    try:
        return planned.only(job.rows.matching(conditions.parse(where)))
    except ValueError as error:
        raise errors.UsageError(f"--where {where!r}: {error}") from error


def commits(job: prepare.Job) -> dict[str, str | None]:
    """The commit of each hub model that rows name."""
    return {model.name: model.revision for model in job.sources.models.found()}


def too_many(limit: str | None, rows: int) -> Callable[[int], bool]:
    """Whether so many failed rows end a run.

    Raises:
        UsageError: `limit` is no amount.
    """
    if limit is None:
        return lambda failed: False
    most = amounts.of("--max-failures", limit, rows)
    return lambda failed: failed > most
