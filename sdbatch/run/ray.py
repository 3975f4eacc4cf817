"""Workers as Ray actors. The only room that imports Ray."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError

from sdbatch.errors import SdbatchError, UsageError
from sdbatch.run.dispatch import WorkerDied
from sdbatch.run.task import Task
from sdbatch.types import Lease, LeaseResult

_PATIENT = {"OMP_WAIT_POLICY": "PASSIVE"}
"""Threads that wait for each other sleep: those of several actors on the same cores take turns otherwise, each waiting
at full speed for one that has no core. Two actors of two threads took four times as long on two cores."""
WINDOW = 2
"""Leases in flight an actor: the next one waits at the actor while it works on the one in hand."""


class _Actor:
    """A worker behind Ray, with a second thread that hears `stop` while a lease is in hand."""

    def __init__(self, task: Task) -> None:
        # In the actor, not in the driver: torch and diffusers take it seconds, in which no actor would start.
        from sdbatch.run.worker import Worker

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
    """One actor and the leases it holds."""

    name: str
    handle: Any
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
        own = _connect(address, actors) if self._started else False
        try:
            share = gpus_per_actor if gpus_per_actor is not None else (1.0 if task.render.device == "cuda" else 0.0)
            have = ray.cluster_resources()
            count = actors or (max(1, int(have.get("GPU", 0) / share)) if share else 1)
            self._options = {**_options(share, count, have), **_surroundings(own=own)}
        except BaseException:
            if self._started:
                ray.shutdown()
            raise
        self._task_ref = ray.put(task)
        self._seats = [self._seat() for _ in range(count)]

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
        seat.leases[seat.handle.run.remote(lease)] = lease

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
        remote = ray.remote(concurrency_groups={"control": 1})(_Actor).options(**self._options)
        return _Seat(name, remote.remote(self._task_ref))

    def _takes(self, seat: _Seat) -> bool:
        """Whether an actor can be given another lease."""
        full = self._recycle is not None and seat.ended + len(seat.leases) >= self._recycle
        return not seat.leases or (len(seat.leases) < WINDOW and not full)

    def _refresh(self, seat: _Seat) -> None:
        """Put a new actor in a seat."""
        fresh = self._seat()
        seat.name, seat.handle, seat.leases, seat.ended = fresh.name, fresh.handle, {}, 0
        if self._stopped:
            seat.handle.stop.remote()

    def _replace(self, seat: _Seat, lease: Lease, error: RayError) -> WorkerDied:
        """Put a new actor in a dead one's seat; the lease behind the one in hand moves along unharmed."""
        message = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        died = seat.name
        if isinstance(error, RayActorError):
            waiting = list(seat.leases.values())
            self._refresh(seat)
            for other in waiting:
                seat.leases[seat.handle.run.remote(other)] = other
        self._on_event(f"{died} died: {message}")
        return WorkerDied(lease, died, message)


def _connect(address: str | None, actors: int | None) -> bool:
    """Join or start a cluster, without its usage report, its banner, or its dashboard; whether it was started."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # torch's threads are set by the worker itself; Ray's OMP_NUM_THREADS=1 would change the bits.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False, "include_dashboard": False}
    address = address or os.environ.get("RAY_ADDRESS")
    if address:
        ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
        return False
    os.environ.update(_PATIENT)  # the actors' processes have it from here
    # "local": a cluster that somebody else started here is not joined unasked.
    options["address"] = "local"
    # A CPU is a place, not a core: as many as actors are asked for, so that 2 actors fit on 1 core too.
    ray.init(num_cpus=max(os.cpu_count() or 1, actors or 1), **options)
    return True


def _surroundings(*, own: bool) -> dict[str, Any]:
    """Variables that actors on a cluster need: where files may be, and what their processes have not been given."""
    found = {name: value for name, value in os.environ.items() if name.startswith("SDBATCH_")}
    if not own:
        found |= _PATIENT
    return {"runtime_env": {"env_vars": found}} if found else {}


def _options(share: float, count: int, have: dict[str, float]) -> dict[str, Any]:
    """Resources of an actor, checked first: Ray would wait for ever for what the cluster does not have."""
    gpus, cpus = have.get("GPU", 0.0), have.get("CPU", 0.0)
    if share and share * count > gpus + 1e-9:
        raise UsageError(f"{count} actors of {share:g} GPU ask for {share * count:g} GPUs; the cluster has {gpus:g}")
    if not share and count > cpus:
        raise UsageError(f"{count} actors ask for {count} CPUs; the cluster has {cpus:g}")
    return {
        "num_gpus": share,
        "num_cpus": 0 if share else 1,
        "max_restarts": 0,
        "max_task_retries": 0,
    }
