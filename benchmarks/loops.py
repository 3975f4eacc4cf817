"""64 rows to PNG on disk: sdbatch against the loops that people write with diffusers.

python benchmarks/loops.py [--rows 64] [--rounds 5] [--threads N] [--only demo|batched|sleeping]

Each way runs in a process of its own, which lives from round to round; they take turns. Timed is everything but
the imports: planning (ours), loading the model from disk, rendering, and the last file on disk (ours: the manifest
too). The second part replaces the model by a stand-in that sleeps as long for each picture and gives pixels that
compress as photographs do, so that only encoding, hashing and writing differ.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import timing
import ways

SIDE = 512
KINDS = 16
"""Different pictures that the stand-in gives, drawn before the clock starts."""


class Photographs:
    """A pipeline, and a renderer, that sleep as long for each picture."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._given = seconds, 0
        self._pixels = [ways.photograph(seed, SIDE) for seed in range(KINDS)]

    def _next(self, count: int) -> list[Any]:
        time.sleep(self._seconds * count)
        self._given += count
        return [self._pixels[at % KINDS] for at in range(self._given - count, self._given)]

    def render(self, rows: Sequence[Any], size: int, **how: Any) -> list[Any]:
        """As `Renderer.render`."""
        from sdbatch.render.batch import Picture

        return [Picture(pixels.copy()) for pixels in self._next(len(rows))]

    def __call__(self, prompt: list[str], **how: Any) -> Any:
        """As a diffusers pipeline."""
        from types import SimpleNamespace

        from PIL import Image

        return SimpleNamespace(images=[Image.fromarray(pixels) for pixels in self._next(len(prompt))])


def sleeping_sdbatch(job: Path, out: Path, rows: int, seconds: float) -> Callable[[], float]:
    """A run of ours whose renderer is the stand-in."""
    from sdbatch.workers import worker

    stand_in = Photographs(seconds)
    # The worker asks for a class; a benchmark has one made already.
    worker.Renderer = lambda render, sources: stand_in  # type: ignore[assignment,misc]  # a function
    return ways.sdbatch(job, out, rows)


def sleeping_loop(work: ways.Loop, out: Path, size: int, seconds: float) -> Callable[[], float]:
    """The batched loop over the stand-in."""
    stand_in = Photographs(seconds)
    return ways.diffusers_loop(work, out, size, lambda: stand_in)


def demo(folder: Path, rows: int, rounds: int, threads: int | None, *, naive: bool) -> list[dict[str, Any]]:
    """Demo rows against both loops; with `threads`, all ways have as many, else each what it takes by itself."""
    render = {} if threads is None else {"render": {"threads": threads}}
    job = ways.write_job(ways.demo_job(rows, **render), folder)
    work = ways.calls(job, rows)
    size = ways.batch_size(64, 64)
    apart = {
        "sdbatch": timing.Apart(ways.sdbatch, job, folder / "ours", rows),
        "batched loop": timing.Apart(ways.diffusers_loop, work, folder / "batched", size, ways.pipeline, threads),
    }
    if naive:
        apart["naive loop"] = timing.Apart(ways.diffusers_loop, work, folder / "naive", None, ways.pipeline, threads)
    try:
        seconds = timing.interleaved(apart, rounds)
    finally:
        for one in apart.values():
            one.close()
    names = [one["name"] for one in work]
    more = {"rows": rows, "batch": size, "pictures_per_second": round(rows / timing.median(seconds["sdbatch"]), 2)}
    found = []
    against = [("naive loop", "naive", 1.4)] if naive else []
    for other, folder_name, target in (*against, ("batched loop", "batched", 1.0)):
        off = ways.differences(folder / "ours" / "images", folder / folder_name, names)
        what = f"{rows} demo rows, {ways.STEPS} steps, to PNG on disk"
        found.append(timing.compared(what, seconds, "sdbatch", other, target, largest_difference=off, **more))
    return found


def sleeping(folder: Path, rows: int, rounds: int, seconds_each: float) -> list[dict[str, Any]]:
    """512 × 512 by a stand-in that sleeps, against the batched loop."""
    job = ways.write_job({**ways.demo_job(rows), "width": SIDE, "height": SIDE}, folder / "sleeping")
    work = ways.calls(job, rows)
    size = ways.batch_size(SIDE, SIDE)
    apart = {
        "sdbatch": timing.Apart(sleeping_sdbatch, job, folder / "sleeping" / "ours", rows, seconds_each),
        "batched loop": timing.Apart(sleeping_loop, work, folder / "sleeping" / "batched", size, seconds_each),
    }
    try:
        seconds = timing.interleaved(apart, rounds)
    finally:
        for one in apart.values():
            one.close()
    what = f"{rows} rows at {SIDE} × {SIDE}, a stand-in that sleeps {seconds_each:g} s a picture"
    idle = timing.median(seconds["sdbatch"]) / (rows * seconds_each) - 1
    # Nothing can be faster than the sleep alone.
    most = timing.median(seconds["batched loop"]) / (rows * seconds_each)
    more = {"rows": rows, "batch": size, "over_sleep_alone": round(idle, 4), "at_most": round(most, 3)}
    return [timing.compared(what, seconds, "sdbatch", "batched loop", 1.3, **more)]


def main() -> None:
    """Measure, and print one JSON object."""
    parser = timing.options(__doc__, rounds=5)
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--sleep", type=float, nargs="+", default=[0.25, 0.15], help="seconds a picture, slept")
    parser.add_argument("--threads", type=int, help="torch's threads in all ways (default: what each takes by itself)")
    parser.add_argument(
        "--only", choices=("demo", "batched", "sleeping"), help="batched: demo rows without the naive loop"
    )
    options = parser.parse_args()
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="sdbatch-bench-") as name:
        if options.only != "sleeping":
            naive = options.only != "batched"
            found += demo(Path(name), options.rows, options.rounds, options.threads, naive=naive)
        if options.only in (None, "sleeping"):
            for seconds in options.sleep:
                found += sleeping(Path(name), options.rows, min(options.rounds, 3), seconds)
    timing.report("loops", found)


if __name__ == "__main__":
    main()
