"""A whole run of a full-size model, everything on disk, against the same batches rendered and thrown away.

python benchmarks/full_size.py [--shape sd15] [--rows 128] [--rounds 2] [--batch N] [--steps 30] [--out FOLDER]

The model has the architecture of a real one and random weights; it is written to a folder once, and the run reads it
from there as it reads any model. What is drawn first is left out of both, since the model is read then. Pictures of
random weights are noise, the worst that a PNG can be given.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import timing
import yaml
from overlap import Listener

from sdbatch import api
from sdbatch.render import device
from sdbatch.render.bench.bench import PIPELINES
from sdbatch.render.bench.weights import components
from sdbatch.render.models import Models
from sdbatch.render.renderer import Renderer
from sdbatch.sources import shapes
from sdbatch.workers import worker


class Watched(Renderer):
    """The renderer of a run; remembers what it was given, and when it was done."""

    last: Watched

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.batches: list[tuple[list[Any], int]] = []
        self.calls: list[tuple[float, float]] = []
        type(self).last = self

    def render(self, rows: Sequence[Any], size: int, **named: Any) -> list[Any]:
        began = time.perf_counter()
        found = super().render(rows, size, **named)
        self.batches.append((list(rows), size))
        self.calls.append((began, time.perf_counter()))
        return found


def saved(shape: str, render: Any, folder: Path) -> Path:
    """The model of this shape, as a folder."""
    model = shapes.model(shape)
    models = Models(render, lambda model, dtype: components(model, dtype, render.device))
    models.pipeline(model, PIPELINES[model.kind]).save_pretrained(str(folder))
    return folder


def run(spec: dict[str, Any], folder: Path, number: int) -> tuple[float, float, list[float], tuple[float, float]]:
    """Of a run, and of its batches alone, after the first batch of each.

    Returns: pictures a second of both; idle gaps between the run's renders; median seconds a batch of both.
    """
    listener = Listener()
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(spec), encoding="utf-8")
    report = api.run(api.job(path, out=folder / f"run-{number}"), api.RunOptions(), listener)
    renderer = Watched.last
    count = sum(len(rows) for rows, _ in renderer.batches[1:])
    assert report.made == count + len(renderer.batches[0][0]), report
    whole = count / (listener.committed - renderer.calls[0][1])
    gaps = [begin - end for (_, end), (begin, _) in zip(renderer.calls, renderer.calls[1:], strict=False)]
    batches = list(renderer.batches)
    began = time.perf_counter()
    for rows, size in batches[1:]:
        renderer.render(rows, size)
    alone = count / (time.perf_counter() - began)
    taken = [end - begin for begin, end in renderer.calls]
    each = timing.median(taken[1 : len(batches)]), timing.median(taken[len(batches) :])
    return whole, alone, [*gaps, listener.committed - renderer.calls[len(batches) - 1][1]], each


def main() -> None:
    """Measure, and print one JSON object."""
    parser = timing.options(__doc__, rounds=2)
    parser.add_argument("--shape", default="sd15")
    parser.add_argument("--rows", type=int, default=128)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--size", type=int)
    parser.add_argument("--out", type=Path, help="a folder on the disk that is measured (default: the system's)")
    options = parser.parse_args()
    given = {} if options.batch is None else {"batch_size": options.batch}
    render = device.settings(given)
    worker.Renderer = Watched  # type: ignore[attr-defined]  # imported there, and exported by nobody
    side = options.size or shapes.model(options.shape).size[0]
    with tempfile.TemporaryDirectory(prefix="sdbatch-bench-", dir=options.out) as name:
        folder = Path(name)
        spec = {
            "name": "full-size", "model": str(saved(options.shape, render, folder / "model")),
            "prompt": "picture {seed} of a market square in the rain, oil on canvas", "width": side, "height": side,
            "steps": options.steps, "scheduler": "ddim", "grid": {"seed": {"range": [0, options.rows]}},
            "render": given,
        }  # fmt: skip
        found = [run(spec, folder, number) for number in range(options.rounds)]
    share = timing.median([whole / alone for whole, alone, _, _ in found])
    result = timing.result(
        f"a run of {options.shape}, everything on disk, by its batches alone",
        share,
        0.97,
        device=device.describe(render.device).kind,
        dtype=render.dtype,
        rows=options.rows,
        rounds=options.rounds,
        run=timing.median([whole for whole, _, _, _ in found]),
        alone=timing.median([alone for _, alone, _, _ in found]),
        batch_in_run=timing.median([each[0] for _, _, _, each in found]),
        batch_alone=timing.median([each[1] for _, _, _, each in found]),
        waits=[round(gap, 4) for gap in found[-1][2]],
    )
    timing.report("full_size", [result])


if __name__ == "__main__":
    main()
