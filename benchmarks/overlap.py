"""How long the render thread waits while pictures are encoded, hashed and written: a whole run against render alone.

python benchmarks/overlap.py [--rounds 3] [--rows 64] [--seconds 0.25]

The renderer is a stand-in that sleeps so long a picture and gives 512 x 512 pixels like a photograph's, ready made.
All else is as in any run: plan, leases, notes of attempts, texts, PNG, hashes, flushing to the disk, manifest, log.
Time counts from the first render's begin to the last picture's record in the manifest.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import png
import timing

from sdbatch import api
from sdbatch.render.batch import Picture
from sdbatch.workers import worker

PHOTOGRAPHS = [png.generated(seed) for seed in range(8)]


class Listener:
    """Hears when a lease was committed."""

    def __init__(self) -> None:
        self.committed = 0.0

    def begin(self, planned: Any, left: int, directory: Path) -> None: ...

    def rows(self, count: int) -> None: ...

    def result(self, result: Any) -> None:
        self.committed = time.perf_counter()

    def say(self, text: str) -> None: ...


class StandIn:
    """Sleeps."""

    seconds = 0.25
    calls: list[tuple[float, float]]  # begin and end

    def __init__(self, *_: Any) -> None:
        type(self).calls = []

    def render(self, rows: Sequence[Any], size: int = 1, *, precise: bool = False) -> list[Picture]:
        began = time.perf_counter()
        time.sleep(self.seconds * len(rows))
        self.calls.append((began, time.perf_counter()))
        return [Picture(PHOTOGRAPHS[row.params["seed"] % 8]) for row in rows]


def run(rows: int, root: Path) -> dict[str, float]:
    """Make so many pictures; seconds from begin to end, of rendering, between two renders and after the last."""
    spec = f"name: overlap\nprompt: a red star\nwidth: 512\nheight: 512\ngrid: {{seed: {{range: [0, {rows}]}}}}\n"
    listener = Listener()
    with tempfile.TemporaryDirectory(dir=root) as folder:
        path = Path(folder) / "job.yaml"
        path.write_text(spec, encoding="utf-8")
        report = api.run(api.job(path, out=Path(folder) / "run"), api.RunOptions(), listener)
        assert report.made == rows, report
    calls = StandIn.calls
    gaps = [begin - end for (_, end), (begin, _) in zip(calls, calls[1:], strict=False)]
    whole = listener.committed - calls[0][0]
    rendered = sum(end - begin for begin, end in calls)
    return {"whole": whole, "render": rendered, "between": sum(gaps), "longest": max(gaps, default=0.0),
            "after": listener.committed - calls[-1][1]}  # fmt: skip


def main() -> None:
    """Measure, and print one JSON object."""
    parser = timing.options(__doc__, rounds=3)
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=0.25, help="that a picture takes")
    parser.add_argument("--out", type=Path, help="a folder on the disk that is measured (default: the system's)")
    options = parser.parse_args()
    StandIn.seconds = options.seconds
    # It has of a renderer's methods those that a worker calls.
    worker.Renderer = StandIn  # type: ignore[assignment, misc]  # no subclass
    root = options.out or Path(tempfile.gettempdir())
    found = [run(options.rows, root) for _ in range(1 + options.rounds)][1:]
    idle = timing.median([1 - one["render"] / one["whole"] for one in found])
    parts = {name: timing.median([one[name] for one in found]) for name in found[0]}
    what = f"idle share of the render thread, {options.seconds:g} s a picture"
    result = timing.result(what, idle, 0.02, most_allowed=True, rows=options.rows, rounds=len(found), seconds=parts)
    timing.report("overlap", [result])


if __name__ == "__main__":
    main()
