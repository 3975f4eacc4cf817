"""Thirty-two Ray actors whose calls take 50 ms: how much of that time is left of the whole, after the start.

python benchmarks/actors.py [--actors 32] [--batches 51200] [--seconds 0.05]

The actors sleep so long a batch and write no pictures; all else is as in any run: plan, leases by the measured pace,
the pool of Ray actors, two leases in flight each, the manifest's parts with a record a row. Ideal is all batches,
divided by the actors. Time counts from the moment that all actors have answered to the last commit.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import timing

from sdbatch import api
from sdbatch.store.manifest import Done
from sdbatch.types import Lease, LeaseResult
from sdbatch.workers import dispatch
from sdbatch.workers.pace import Pace
from sdbatch.workers.task import Task


class Sleeper:
    """In place of an actor's worker."""

    def __init__(self, task: Task) -> None:
        self._seconds = float(os.environ["BENCH_SLEEP"])

    def run(self, lease: Lease) -> LeaseResult:
        """Sleep for each batch."""
        for _ in range(lease.batches):
            time.sleep(self._seconds)
        records = [{"id": row.id, "row": row.row, "path": row.path, "seconds": self._seconds} for row in lease.rows]
        return LeaseResult(lease, tuple(records))

    def stop(self) -> None:
        """Nobody asks for it here."""

    def pid(self) -> int:
        """Of the process."""
        return os.getpid()


def main() -> None:
    """Measure, and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--actors", type=int, default=32)
    parser.add_argument("--batches", type=int, default=51_200)
    parser.add_argument("--seconds", type=float, default=0.05, help="that a batch takes")
    options = parser.parse_args()
    os.environ["BENCH_SLEEP"] = str(options.seconds)
    import ray

    from sdbatch.workers import ray as pools

    # An actor is made of what the pool's module calls so; a class of a script travels to the actors by value.
    # The pool asks for a class of this name, and for nothing of it but these methods.
    pools._Actor = Sleeper  # type: ignore[assignment,misc]  # a stand-in is no subclass
    # Here, not as a decorator: Ray is imported where it is measured.
    Sleeper.stop = ray.method(concurrency_group="control")(Sleeper.stop)  # type: ignore[method-assign]  # decorated late
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "many.yaml"
        spec = f"name: many\nmodel: demo\nprompt: a star\ngrid: {{seed: {{range: [0, {options.batches}]}}}}\n"
        path.write_text(spec + "render: {batch_size: 1}\n", encoding="utf-8")
        job = api.job(path, out=Path(folder) / "run")
        planned = job.plan(Done())
        task = Task("bench", job.directory.path, job.spec.base, job.render, job.spec.output, job.memory, {})
        with job.directory.lock():
            manifest = job.directory.manifest("bench", job.rows.fields)
            pool = pools.RayPool(task, actors=options.actors)
            assert len(set(pool.pids)) == options.actors
            found = measured(pool, planned, job, manifest, options.actors)
            assert len(manifest.done()) == options.batches
    ideal = options.batches * options.seconds / options.actors
    what = f"{options.actors} Ray actors, batches of {options.seconds * 1000:g} ms, of the ideal"
    timing.report("actors", [timing.result(what, round(ideal / found["seconds"], 4), 0.95, ideal_s=ideal, **found)])


def measured(pool: Any, planned: Any, job: Any, manifest: Any, actors: int) -> dict[str, float]:
    """The run's seconds, those of them in commits, and its leases."""
    pace, taken, leases, commits = Pace(), 0.0, 0, 0

    def commit(results: Sequence[LeaseResult]) -> None:
        nonlocal taken, leases, commits
        for result in results:
            pace.heard(result)
        began = time.perf_counter()
        manifest.commit([record for result in results for record in result.records])
        taken, leases, commits = taken + time.perf_counter() - began, leases + len(results), commits + 1

    began = time.perf_counter()
    outcome = dispatch.run(planned.leases(job.rows.take, actors, batches=pace.batches), pool, commit)
    seconds = time.perf_counter() - began
    assert outcome.made == len(planned.order) and not outcome.deaths, outcome
    return {"seconds": round(seconds, 3), "committing": round(taken, 3), "leases": leases, "commits": commits}


if __name__ == "__main__":
    main()
