"""One seed at 64 values of guidance, in batches, against 64 seeds at one value, and against 64 separate calls.

python benchmarks/sweep.py [--rows 64] [--rounds 5] [--threads N]

Each way runs in a process of its own, in turns; loading the model from disk counts in all of them.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import timing
import ways

FIXED = {"prompt": "a large red star in the center on a white background", "grid": {}}


def main() -> None:
    """Measure, and print one JSON object."""
    parser = timing.options(__doc__, rounds=5)
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--threads", type=int, help="torch's threads in all ways (default: what each takes by itself)")
    options = parser.parse_args()
    rows, threads = options.rows, options.threads
    fixed = {**FIXED, "output": {"filename": "{id}"}, **({} if threads is None else {"render": {"threads": threads}})}
    with tempfile.TemporaryDirectory(prefix="sdbatch-bench-") as name:
        folder = Path(name)
        guidance = {**fixed, "guidance_scale": {"linspace": [1.5, 9, rows]}}
        seeds = {**fixed, "seed": {"range": [0, rows]}}
        jobs = {
            "64 values of guidance": ways.write_job(ways.demo_job(rows, **guidance), folder / "guidance"),
            "64 seeds": ways.write_job(ways.demo_job(rows, **seeds), folder / "seeds"),
        }
        apart = {what: timing.Apart(ways.sdbatch, job, job.parent / "out", rows) for what, job in jobs.items()}
        work = ways.calls(jobs["64 values of guidance"], rows)
        apart["64 separate calls"] = timing.Apart(
            ways.diffusers_loop, work, folder / "loop", None, ways.pipeline, threads
        )
        try:
            seconds = timing.interleaved(apart, options.rounds)
        finally:
            for one in apart.values():
                one.close()
    found: list[dict[str, Any]] = [
        # Alike is what is asked for; a twentieth is what the measurement itself scatters by.
        timing.compared("1 seed × 64 values of guidance", seconds, "64 values of guidance", "64 seeds", 0.95),
        timing.compared("1 seed × 64 values of guidance", seconds, "64 values of guidance", "64 separate calls", None),
    ]
    timing.report("sweep", found)


if __name__ == "__main__":
    main()
