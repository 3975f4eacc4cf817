"""A thousand workers, as discrete events over the real plan and the real dispatch: how busy they are kept.

python benchmarks/simulate.py [--workers 1000] [--batches 400000] [--seed 0]

The workers only pretend: a lease takes its batches times a second and a half times what this worker is slower than the
fastest, 1 to 4 times, drawn evenly; one in a hundred dies once, somewhere in its run, and is there again after half a
minute. The clock is that of the events; what the driver itself takes is reported beside it, as leases a second.
"""

from __future__ import annotations

import argparse
import heapq
import random
import tempfile
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

import timing

from sdbatch import api
from sdbatch.store.manifest import Done
from sdbatch.types import Lease, LeaseResult
from sdbatch.workers import dispatch
from sdbatch.workers.pace import Pace

BATCH_SECONDS, SLOWEST, DEATHS, AWAY = 1.5, 4.0, 0.01, 30.0


@dataclass
class Seat:
    """A worker: what it holds, how slow it is, when it dies, and how long it has worked."""

    slow: float
    dies: float
    leases: deque[Lease] = field(default_factory=deque)
    began: float = 0.0
    intervals: list[tuple[float, float]] = field(default_factory=list)


class Workers:
    """A pool whose time passes in `next`."""

    def __init__(self, count: int, seed: int, length: float) -> None:
        draw = random.Random(seed)
        self.seats = [Seat(draw.uniform(1, SLOWEST), float("inf")) for _ in range(count)]
        for seat in draw.sample(self.seats, round(count * DEATHS)):
            seat.dies = draw.uniform(0, length)
        self.clock, self.given, self.last, self.deaths = 0.0, 0, 0.0, 0
        # The numbers of those who hold no lease, one, and two; dicts, since sets have no order.
        self._holding: list[dict[int, None]] = [dict.fromkeys(range(count)), {}, {}]
        self._events: list[tuple[float, int]] = []
        self.lengths: list[float] = []

    def room(self) -> bool:
        """Whether a worker has fewer than two leases."""
        return bool(self._holding[0] or self._holding[1])

    def submit(self, lease: Lease) -> None:
        """To the worker that holds fewest."""
        number = next(iter(self._holding[0] or self._holding[1]))
        seat = self.seats[number]
        self._moves(number, 1)
        seat.leases.append(lease)
        self.given, self.last = self.given + 1, self.clock
        if len(seat.leases) == 1:
            self._begin(number, max(self.clock, seat.began))

    def _moves(self, number: int, by: int) -> None:
        held = len(self.seats[number].leases)
        del self._holding[held][number]
        self._holding[held + by][number] = None

    def _begin(self, number: int, at: float) -> None:
        seat = self.seats[number]
        seat.began = at
        end = at + seat.leases[0].batches * BATCH_SECONDS * seat.slow
        heapq.heappush(self._events, (min(end, max(at, seat.dies)), number))

    def busy(self) -> bool:
        """Whether a lease is out."""
        return bool(self._events)

    def next(self) -> list[LeaseResult | dispatch.WorkerDied]:
        """On to the next event."""
        self.clock, number = heapq.heappop(self._events)
        seat = self.seats[number]
        self._moves(number, -1)
        lease, length = seat.leases.popleft(), self.clock - seat.began
        if seat.dies <= self.clock:
            self.deaths, seat.dies, seat.began = self.deaths + 1, float("inf"), self.clock + AWAY
            if seat.leases:
                self._begin(number, seat.began)
            return [dispatch.WorkerDied(lease, f"worker {number}", "died")]
        seat.intervals.append((self.clock - length, self.clock))
        self.lengths.append(length)
        if seat.leases:
            self._begin(number, self.clock)
        seconds = length / len(lease.rows)
        return [LeaseResult(lease, tuple({"id": row.id, "row": row.row, "seconds": seconds} for row in lease.rows))]

    def stop(self) -> None:
        """Nobody asks for it here."""

    def close(self) -> None:
        """Nothing to end."""

    def worked(self, until: float) -> float:
        """Seconds of work that came to something, of all workers, up to a moment."""
        return sum(max(0.0, min(end, until) - begin) for seat in self.seats for begin, end in seat.intervals)


def main() -> None:
    """Measure, and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=1000)
    parser.add_argument("--batches", type=int, default=400_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    mean = BATCH_SECONDS * (1 + SLOWEST) / 2
    workers = Workers(options.workers, options.seed, options.batches * mean / options.workers)
    pace = Pace()
    with tempfile.TemporaryDirectory() as folder:
        spec = f"name: many\nmodel: demo\nprompt: a star\ngrid: {{seed: {{range: [0, {options.batches}]}}}}\n"
        path = Path(folder) / "many.yaml"
        path.write_text(spec + "render: {batch_size: 1}\n", encoding="utf-8")
        job = api.job(path, out=Path(folder) / "run")
        planned = job.plan(Done())
        began = time.perf_counter()
        leases = planned.leases(job.rows.take, options.workers, batches=pace.batches)
        outcome = dispatch.run(leases, workers, lambda results: pace.heard(*results))
        took = time.perf_counter() - began
    assert outcome.made == options.batches, outcome
    assert workers.deaths == outcome.deaths
    end, last = workers.clock, workers.last
    lease = timing.median(workers.lengths)
    busy = workers.worked(last) / (options.workers * last)
    shape = {"workers": options.workers, "batches": options.batches, "deaths": workers.deaths, "leases": workers.given}
    shape |= {"median_lease_s": lease, "longest_lease_s": round(max(workers.lengths), 1)}
    times = {"end_s": round(end), "last_lease_s": round(last), "driver_leases_a_second": round(workers.given / took)}
    timing.report(
        "simulate",
        [
            timing.result(
                "workers busy until the last lease was given out, of the ideal", busy, 0.97, **shape, **times
            ),
            timing.result("tail after that, in median leases", (end - last) / lease, 2.0, most_allowed=True),
            timing.result("whole run, of the ideal", workers.worked(end) / (options.workers * end), None),
        ],
    )


if __name__ == "__main__":
    main()
