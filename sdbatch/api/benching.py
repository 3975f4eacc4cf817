"""Measure a model shape on this machine: random weights, nothing downloaded, nothing written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdbatch.errors import EXIT_OK, EXIT_ROWS_FAILED, UsageError
from sdbatch.render import device
from sdbatch.sources import shapes
from sdbatch.sources.models import Model
from sdbatch.sources.names import Sources
from sdbatch.spec import load
from sdbatch.spec.grid import Rows
from sdbatch.spec.schema import JobSpec
from sdbatch.types import Render

if TYPE_CHECKING:
    from sdbatch.render.bench.bench import Measured

BATCHES = (1, 4, 8, 16)
"""Batch shapes that are measured on a GPU where none are named; on a CPU it is the first."""
BATCH_MAX, ROUNDS_MAX = 1024, 1000
SAMPLER = "ddim"
Say = Callable[[str], None]


@dataclass(frozen=True)
class BenchOptions:
    """What is measured.

    Attributes:
        shape: one of `shapes.SHAPES`.
        batches: batch shapes; none is what `BATCHES` says.
        size: width and height in pixels; None is the shape's own.
        render: keys of a job's `render:`.
        rounds: how often ours and the plain loop take turns, after one that warms up.
    """

    shape: str
    batches: tuple[int, ...] = ()
    steps: int = 30
    size: int | None = None
    render: dict[str, Any] = field(default_factory=dict)
    rounds: int = 5


@dataclass(frozen=True)
class BenchReport:
    """What was measured.

    Attributes:
        parameters: how many each network has.
        operations: floating point operations of one text, one step of one picture, and decoding one picture.
        peaks: operations a second of a matrix product, by number format, measured here.
        batches: by batch shape; None where the memory did not suffice.
    """

    options: BenchOptions
    render: Render
    hardware: device.Device
    size: tuple[int, int]
    load_seconds: float
    parameters: dict[str, int]
    operations: dict[str, int]
    peaks: dict[str, float]
    batches: dict[int, Measured | None]

    @property
    def exit_code(self) -> int:
        """1 where no batch fitted, or a picture's bits followed from its place in a batch."""
        measured = [one for one in self.batches.values() if one is not None]
        return EXIT_OK if measured and all(one.exact for one in measured) else EXIT_ROWS_FAILED

    @property
    def picture(self) -> int:
        """Floating point operations of one picture."""
        each = self.operations
        return each["text"] + self.options.steps * each["step"] + each["decode"]

    def share(self, measured: Measured, dtype: str = "bfloat16") -> float:
        """Of the device's peak: operations that ours did a second, by those of a matrix product."""
        return measured.ours * self.picture / self.peaks[dtype]

    def as_json(self) -> dict[str, Any]:
        """One JSON object."""
        return {
            "schema": 1,
            "model_shape": self.options.shape,
            "device": self.hardware.kind,
            "device_memory_gib": self.hardware.memory or None,
            "versions": device.versions(),
            **{name: getattr(self.render, name) for name in ("dtype", "attention", "compile")},
            "threads": self.render.threads if self.render.device == "cpu" else None,
            "memory_format": device.memory_format(self.render.device, compiled=self.render.compile),
            "width": self.size[0],
            "height": self.size[1],
            "steps": self.options.steps,
            "scheduler": SAMPLER,
            "rounds": self.options.rounds,
            "load_seconds": round(self.load_seconds, 2),
            "parameters": self.parameters,
            "operations": {**self.operations, "picture": self.picture},
            "matrix_peak": self.peaks,
            "exact": self.exit_code == EXIT_OK,
            "batches": [self._batch(size, one) for size, one in self.batches.items()],
        }

    def _batch(self, size: int, one: Measured | None) -> dict[str, Any]:
        if one is None:
            return {"batch": size, "fits": False}
        ratios = sorted(one.ratios)
        return {
            "batch": size,
            "fits": True,
            "pictures_per_second": _short(one.ours),
            "naive_pictures_per_second": _short(one.naive),
            "ratio": _short(one.ratio),
            "ratio_least": _short(ratios[0]),
            "ratio_most": _short(ratios[-1]),
            "iterations_per_second": _short(one.calls),
            "ms": {name: _short(value) for name, value in one.ms.items()},
            "peak_bytes": one.peak,
            "share_of_peak": {dtype: _short(self.share(one, dtype)) for dtype in self.peaks},
            "exact": one.exact,
            "differences": one.differences,
            "naive_levels": one.naive_levels,
        }


def bench(options: BenchOptions, say: Say = lambda text: None) -> BenchReport:
    """Measure a model shape.

    Args:
        say: told what is done at the moment.

    Raises:
        UsageError: there is no such shape, batch shape or device, or the weights do not fit.
        SpecError: a number of steps, a size or a key of `render:` that no job may have.
        PictureError: the network gave values that are not numbers.
    """
    model = shapes.model(options.shape)
    sources = Sources(Path.cwd())
    sources.models.hold(model)
    side = options.size or model.size[0]
    _check(options)
    # Torch is not loaded yet: what is wrong with the options is told at once.
    render = device.settings(dict(_job(model, options, side, 1).render))
    hardware = device.describe(render.device)
    batches = options.batches or (BATCHES if render.device != "cpu" else BATCHES[:1])

    from sdbatch.render.bench import work
    from sdbatch.render.bench.bench import Bench, needed

    say(f"{options.shape}: counting the work")
    operations = work.counted(model, side, side)
    say(f"{options.shape}: random weights in {render.dtype} on {render.device}")
    made = Bench(render, model, sources)
    say(f"{options.shape}: what {render.device} can do")
    peaks = made.matrix_peaks()
    counts = [needed(size, options.rounds) for size in batches]
    rows = Rows(_job(model, options, side, sum(counts)), None, sources)
    found: dict[int, Measured | None] = {}
    begin = 0
    for size, count in zip(batches, counts, strict=True):
        say(f"{options.shape}: batch {size}")
        found[size] = made.measure(rows.take(range(begin, begin + count)), size, options.rounds)
        begin += count
    return BenchReport(
        options, render, hardware, (side, side), made.seconds, made.parameters(), operations, peaks, found
    )


def _check(options: BenchOptions) -> None:
    wrong = [size for size in options.batches if not 1 <= size <= BATCH_MAX]
    if wrong:
        raise UsageError(f"batch {wrong[0]}: from 1 to {BATCH_MAX}")
    if not 1 <= options.rounds <= ROUNDS_MAX:
        raise UsageError(f"rounds {options.rounds}: from 1 to {ROUNDS_MAX}")


def _job(model: Model, options: BenchOptions, side: int, count: int) -> JobSpec:
    """A job of so many rows, all different, whose shape of computation is one."""
    numbers = range(count)
    return load.job_from_mapping(
        {
            "model": model.name,
            "width": side,
            "height": side,
            "steps": options.steps,
            "scheduler": SAMPLER,
            "zip": {
                "seed": list(numbers),
                "prompt": [f"picture {number} of a market square in the rain, oil on canvas" for number in numbers],
                "guidance_scale": [5 + number % 5 for number in numbers],
            },
            "render": options.render,
        },
        Path.cwd(),
        "bench",
    )


def _short(value: float) -> float:
    return float(f"{value:.4g}")
