"""Pictures a second of the demo model at several batch shapes: medians of interleaved rounds in one process.

python benchmarks/batch_shape.py [--threads 1,2] [--sizes 1,2,4,8,16] [--rounds 5]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

from sdbatch.render import device
from sdbatch.render.renderer import Renderer
from sdbatch.sources.models import ModelSource
from sdbatch.spec import load
from sdbatch.spec.grid import Rows
from sdbatch.types import Row

ROWS = 16


def rows(source: ModelSource) -> list[Row]:
    """Sixteen rows that differ in prompt and seed."""
    spec = load.job_from_mapping(
        {"prompt": "a {color} star", "grid": {"color": ["red", "blue", "green", "white"], "seed": [0, 1, 2, 3]}}, Path()
    )

    def resolve(name: str, revision: str | None) -> tuple[str, tuple[int, int], str]:
        model = source.resolve(name, revision)
        return model.hash, model.size, model.kind

    return Rows(spec, None, resolve).take(range(ROWS))


def main() -> None:
    """Measure, and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--sizes", default="1,2,4,8,16")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    source = ModelSource(Path())
    path, work = source.resolve("demo").path, rows(source)
    kinds = [(int(t), int(s)) for t in options.threads.split(",") for s in options.sizes.split(",")]
    renderers = {t: Renderer(device.settings({"threads": t, "device": "cpu"})) for t, _ in kinds}
    seconds: dict[tuple[int, int], list[float]] = {kind: [] for kind in kinds}
    for number in range(options.rounds + 1):  # the first round warms up
        for threads, size in kinds:
            began = time.perf_counter()
            for start in range(0, ROWS, size):
                renderers[threads].render(work[start : start + size], path, size)
            if number:
                seconds[threads, size].append(time.perf_counter() - began)
    base = statistics.median(seconds[kinds[0]])
    found = [
        {
            "threads": threads,
            "batch": size,
            "pictures_per_second": round(ROWS / statistics.median(taken), 2),
            "against_first": round(base / statistics.median(taken), 2),
        }
        for (threads, size), taken in seconds.items()
    ]
    print(
        json.dumps({"device": device.describe("cpu").kind, "versions": device.versions(), "results": found}, indent=2)
    )


if __name__ == "__main__":
    main()
