"""Workers as Ray actors. This file and `cluster` alone import Ray."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError

from sdbatch.errors import SdbatchError
from sdbatch.types import Lease, LeaseResult
from sdbatch.workers import cluster
from sdbatch.workers.dispatch import WorkerDied
from sdbatch.workers.task import Task

WINDOW = 2
"""Leases in flight an actor: the next one waits at the actor while it works on the one in hand."""
LOOK_SECONDS = 5.0
"""How often a cluster that was joined is asked what it has."""


class _Actor:
    """A worker behind Ray, with a second thread that hears `stop` while a lease is in hand."""

    def __init__(self, task: Task) -> None:
        # In the actor, not in the driver: torch and diffusers take it seconds, in which no actor would start.
        from sdbatch.workers.worker import Worker

        self._stopped = False
        self._worker = Worker(task, lambda: self._stopped)

    def run(self, lease: Lease) -> LeaseResult:
        return self._worker.run(lease)

    @ray.method(concurrency_group="control")
    def stop(self) -> None:
        self._stopped = True

    def pid(self) -> int:
        return os.getpid()


@dataclass
class _Seat:
    """One actor and the leases it holds; `ready` is there once it has begun."""

    name: str
    handle: Any
    ready: Any
    leases: dict[Any, Lease] = field(default_factory=dict)
    ended: int = 0


class RayPool:
    """A pool of actors.

    Args:
        actors: how many; None is one a GPU, or one where there are none.
        gpus_per_actor: a share of a GPU each; None is 1 where the device is CUDA, else 0.
        recycle: how many leases an actor works off before a fresh one takes its seat; None is no end.
        address: of a running cluster; None starts one in this machine.

    Raises:
        UsageError: the cluster has less than is asked for.
    """

    def __init__(
        self,
        task: Task,
        *,
        actors: int | None = None,
        gpus_per_actor: float | None = None,
        address: str | None = None,
        recycle: int | None = None,
        on_event: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._task, self._on_event, self._stopped, self._made = task, on_event, False, 0
        self._recycle = recycle
        self._error: Exception | None = None
        self._started = not ray.is_initialized()
        self._own = cluster.connect(address, actors) if self._started else False
        self._share = gpus_per_actor if gpus_per_actor is not None else (1.0 if task.render.device == "cuda" else 0.0)
        try:
            count = actors or (max(1, cluster.places(self._share)) if self._share else 1)
            # Without a number of actors those that join later, each with a GPU, are used too.
            self._most = math.inf if self._share and actors is None else count
            self._options = cluster.resources(self._share, count)
            self._options |= cluster.surroundings(own=self._own, share=self._share)
        except BaseException:
            if self._started:
                ray.shutdown()
            raise
        self._task_ref = ray.put(task)
        self._seats = [self._seat() for _ in range(count)]
        self._looked = time.monotonic()

    def __len__(self) -> int:
        return len(self._seats)

    @property
    def pids(self) -> list[int]:
        """Process ids of the actors."""
        return [int(ray.get(seat.handle.pid.remote())) for seat in self._seats]

    def room(self) -> bool:
        """Whether an actor has fewer leases than the window."""
        return any(self._takes(seat) for seat in self._seats)

    def submit(self, lease: Lease) -> None:
        """Give a lease to the actor that holds fewest; one that has worked off its share is replaced first."""
        seat = min(filter(self._takes, self._seats), key=lambda one: len(one.leases))
        if self._recycle is not None and seat.ended >= self._recycle:
            ray.kill(seat.handle)
            self._refresh(seat)
        self._give(seat, lease)

    def busy(self) -> bool:
        """Whether an actor holds a lease."""
        return any(seat.leases for seat in self._seats)

    def next(self) -> list[LeaseResult | WorkerDied]:
        """Wait up to half a second for a result; it, and all others that are there.

        Raises:
            SdbatchError: what a worker raised: a fault of the work, not of Ray.
        """
        if self._error is not None:
            raise self._error
        if time.monotonic() - self._looked >= LOOK_SECONDS and not self._own:
            self._fit()
        flying = {ref: seat for seat in self._seats for ref in seat.leases}
        ready, _ = ray.wait(list(flying), num_returns=1, timeout=0.5)
        if ready and len(flying) > 1:
            ready, _ = ray.wait(list(flying), num_returns=len(flying), timeout=0)
        came: list[LeaseResult | WorkerDied] = []
        for ref in ready:
            try:
                if ref in flying[ref].leases:  # not of an actor that was replaced a moment ago
                    came.append(self._result(ref, flying[ref]))
            except Exception as error:  # raised next time: what came before it is committed first
                self._error = error
                if not came:
                    raise
                break
        return came

    def _result(self, ref: Any, seat: _Seat) -> LeaseResult | WorkerDied:
        lease = seat.leases.pop(ref)
        try:
            result: LeaseResult = ray.get(ref)
            seat.ended += 1
            return result
        except RayTaskError as error:
            cause = error.cause if isinstance(error.cause, SdbatchError) else None
            raise cause or error from error
        except RayError as error:
            return self._replace(seat, lease, error)

    def stop(self) -> None:
        """Ask every actor to end its lease after the batch in hand."""
        self._stopped = True
        for seat in self._seats:
            seat.handle.stop.remote()

    def close(self) -> None:
        """End the actors, and the cluster if it was started here."""
        for seat in self._seats:
            ray.kill(seat.handle)
        if self._started:
            ray.shutdown()

    def _seat(self) -> _Seat:
        self._made += 1
        name = f"actor-{self._made}"
        # Named, and each lease too: Ray's dashboard lists them.
        remote = ray.remote(concurrency_groups={"control": 1})(_Actor).options(
            **self._options, name=f"{self._task.run} {name}"
        )
        handle = remote.remote(self._task_ref)
        return _Seat(name, handle, handle.pid.remote())

    def _give(self, seat: _Seat, lease: Lease) -> None:
        called = seat.handle.run.options(name=f"lease {lease.number}: {len(lease.rows)} rows")
        seat.leases[called.remote(lease)] = lease

    def _fit(self) -> None:
        """Have as many actors as a cluster has room for that others change: nodes join it and leave it."""
        self._looked = time.monotonic()
        places = cluster.places(self._share)
        more = int(min(places, self._most)) - len(self._seats)
        for _ in range(min(more, cluster.free(self._share)) if more > 0 and not self._stopped else 0):
            self._seats.append(self._seat())
            self._on_event(f"{self._seats[-1].name} joins: the cluster has room for {places}")
        begun = [one for one in self._seats if ray.wait([one.ready], timeout=0)[0]]
        for seat in [one for one in self._seats if one not in begun]:
            # It waits for a place that is gone, or that others have taken. Who is at work is told of by Ray.
            if max(places, 1) < len(self._seats):
                ray.kill(seat.handle)
                self._leave(seat)
            elif seat.leases and any(not one.leases for one in begun):
                waiting = list(seat.leases.values())
                ray.kill(seat.handle)
                self._refresh(seat)
                for lease in waiting:
                    self._give(min(begun, key=lambda one: len(one.leases)), lease)

    def _leave(self, seat: _Seat) -> None:
        """Take a seat out; the leases that it holds go to the others."""
        self._seats.remove(seat)
        self._on_event(f"{seat.name} leaves: the cluster has no room for it")
        for lease in seat.leases.values():
            self._give(min(self._seats, key=lambda one: len(one.leases)), lease)

    def _takes(self, seat: _Seat) -> bool:
        """Whether an actor can be given another lease."""
        full = self._recycle is not None and seat.ended + len(seat.leases) >= self._recycle
        return not seat.leases or (len(seat.leases) < WINDOW and not full)

    def _refresh(self, seat: _Seat) -> None:
        """Put a new actor in a seat."""
        fresh = self._seat()
        seat.name, seat.handle, seat.ready, seat.leases, seat.ended = fresh.name, fresh.handle, fresh.ready, {}, 0
        if self._stopped:
            seat.handle.stop.remote()

    def _replace(self, seat: _Seat, lease: Lease, error: RayError) -> WorkerDied:
        """Put a new actor in a dead one's seat; the lease behind the one in hand moves along unharmed."""
        message = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        died = seat.name
        if isinstance(error, RayActorError):
            self._on_event(f"{died} died: {message}")
            if not self._own and 1 <= cluster.places(self._share) < len(self._seats):
                self._leave(seat)
            else:
                waiting = list(seat.leases.values())
                self._refresh(seat)
                for other in waiting:
                    self._give(seat, other)
        return WorkerDied(lease, died, message)
