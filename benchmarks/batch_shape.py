"""Pictures a second of the demo model at several batch shapes, render alone, against one thread and batch 1.

python benchmarks/batch_shape.py [--threads 1,2] [--sizes 1,2,4,8,16] [--rounds 5]
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import timing

from sdbatch.render import device
from sdbatch.render.renderer import Renderer
from sdbatch.sources.names import Sources
from sdbatch.spec import load
from sdbatch.spec.grid import Rows

ROWS = 16
JOB = {"prompt": "a {color} star", "grid": {"color": ["red", "blue", "green", "white"], "seed": [0, 1, 2, 3]}}


def main() -> None:
    """Measure, and print one JSON object."""
    parser = timing.options(__doc__, rounds=5)
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--sizes", default="1,2,4,8,16")
    options = parser.parse_args()
    sources = Sources(Path())
    made = Rows(load.job_from_mapping(JOB, Path()), None, sources)
    work = made.take(range(ROWS))
    render = device.settings({"threads": 1, "device": "cpu", "batch_size": 1})
    kinds = [(int(t), int(s)) for t in options.threads.split(",") for s in options.sizes.split(",")]
    renderers = {t: Renderer(replace(render, threads=t), sources) for t, _ in kinds}

    def way(threads: int, size: int) -> timing.Way:
        def render_all() -> None:
            for start in range(0, ROWS, size):
                renderers[threads].render(work[start : start + size], size)

        return render_all

    names = {f"{threads} threads, batch {size}": (threads, size) for threads, size in kinds}
    seconds = timing.interleaved({name: way(*kind) for name, kind in names.items()}, options.rounds)
    base = next(iter(names))
    found: list[dict[str, Any]] = [
        {
            "threads": threads,
            "batch": size,
            "pictures_per_second": round(ROWS / timing.median(seconds[name]), 2),
            "against_first": round(timing.median(timing.ratios(seconds, name, base)), 2),
        }
        for name, (threads, size) in names.items()
    ]
    about = "demo model, 64 × 64, 20 DDIM steps, guidance 4, 16 pictures, render alone"
    timing.report("batch_shape", found, about=about)


if __name__ == "__main__":
    main()
