"""One model shape on one device: the renderer as a run has it, beside a plain diffusers loop over the same weights."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sdbatch.errors import PictureError, RowError, UsageError
from sdbatch.render import memory, schedulers, steady
from sdbatch.render.batch import Picture
from sdbatch.render.bench import clocks, exact, weights
from sdbatch.render.memory import Ladder
from sdbatch.render.models import Models
from sdbatch.render.renderer import Renderer
from sdbatch.sources.models import Model
from sdbatch.sources.names import Sources
from sdbatch.types import Render, Row

PIPELINES = {"sd": "StableDiffusionPipeline", "sdxl": "StableDiffusionXLPipeline"}
WARM = 1
"""Rounds before those that count."""
NAIVE = 4
"""Most pictures that the plain loop makes a round: its rate does not follow from how many they are."""
EXACT_STEPS = 4
"""Most steps where bits are compared; the shapes, and so the kernels, are those of any number."""


@dataclass(frozen=True)
class Measured:
    """One batch shape. Numbers are medians over rounds.

    Attributes:
        ours, naive: pictures a second.
        ratios: ours by naive, round by round.
        calls: of the network a second, each for the whole batch with both halves of guidance.
        ms: milliseconds a batch: `text`, `step` (one denoising step), `decode`, `to_host`, and `whole`.
        peak: most bytes in use while ours were made.
        differences: see `exact.compare`.
        naive_levels: largest difference of one picture from the plain loop's, of 255.
    """

    size: int
    ours: float
    naive: float
    ratios: tuple[float, ...]
    calls: float
    ms: dict[str, float]
    peak: int
    differences: dict[str, dict[str, float]]
    naive_levels: int

    @property
    def ratio(self) -> float:
        """Ours by naive: the median of `ratios`."""
        return statistics.median(self.ratios)

    @property
    def exact(self) -> bool:
        """Whether a picture's bits are the same wherever it stands."""
        return exact.same(self.differences)


@dataclass(frozen=True)
class _Turn:
    """One round: pictures a second of both, milliseconds of our stages, how far the first picture is from theirs."""

    ours: float
    naive: float
    ms: dict[str, float]
    levels: int


class Bench:
    """A model shape on a device.

    Args:
        render: how; memory that runs out ends a batch, whatever its `oom` says.
        model: of `shapes.model`.
        sources: holds that model.

    Attributes:
        seconds: that making the weights took.

    Raises:
        UsageError: the weights do not fit.
    """

    def __init__(self, render: Render, model: Model, sources: Sources) -> None:
        self._render, self._device = render, render.device
        torch.set_num_threads(render.threads)
        models = Models(render, lambda model, dtype: weights.components(model, dtype, render.device))
        began = time.perf_counter()
        try:
            self._pipe = models.pipeline(model, PIPELINES[model.kind])
        except Exception as error:  # allocators say that memory ran out by errors of many classes
            if not memory.ran_out(error):
                raise
            raise UsageError(f"{model.name} in {render.dtype} does not fit on {render.device}: {error}") from error
        self.seconds = clocks.now(render.device) - began
        self._config = dict(self._pipe.scheduler.config)
        ladder = Ladder(replace(render, oom="fail"), offload=False)
        self._renderer = Renderer(render, sources, models=models, ladder=ladder)
        self._naive = _naive(self._pipe)

    def parameters(self) -> dict[str, int]:
        """How many each network has."""
        return weights.counts(self._pipe.components)

    def matrix_peaks(self) -> dict[str, float]:
        """Operations a second by number format: bfloat16, and that of this run."""
        formats = dict.fromkeys(("bfloat16", self._render.dtype))
        return {name: clocks.matrix_peak(self._device, getattr(torch, name)) for name in formats}

    def measure(self, rows: Sequence[Row], size: int, rounds: int) -> Measured | None:
        """Measure one batch shape; None where the memory does not suffice.

        Args:
            rows: at least `needed(size, rounds)`, all different in prompt and seed.

        Raises:
            PictureError: the network gave values that are not numbers.
        """
        try:
            return self._measured(rows, size, rounds)
        except Exception as error:  # as above
            if not memory.ran_out(error):
                raise
        memory.free(self._device)  # here, where the error no longer holds what it was raised among
        return None

    def _measured(self, rows: Sequence[Row], size: int, rounds: int) -> Measured:
        batches = [rows[start : start + size] for start in range(0, (WARM + rounds) * size, size)]
        turns: list[_Turn] = []
        clocks.forget_peak(self._device)
        with clocks.Watch(self._pipe, self._device) as watch:
            for batch in batches[:WARM]:
                self._ours(batch, size, watch)
            peak = clocks.peak(self._device)
            self._plain(rows[:1])
            for number, batch in enumerate(batches[WARM:]):
                turns.append(self._turn(batch, size, watch, ours_first=number % 2 == 0))
        ms = clocks.medians([turn.ms for turn in turns])
        ms["step"] = ms.pop("denoise") / rows[0].params["steps"]
        return Measured(
            size=size,
            ours=statistics.median(turn.ours for turn in turns),
            naive=statistics.median(turn.naive for turn in turns),
            ratios=tuple(turn.ours / turn.naive for turn in turns),
            calls=1000 / ms["step"],
            ms={name: ms[name] for name in ("text", "step", "decode", "to_host", "whole")},
            peak=peak,
            differences=self._placed(rows, size),
            naive_levels=max(turn.levels for turn in turns),
        )

    def _turn(self, batch: Sequence[Row], size: int, watch: clocks.Watch, *, ours_first: bool) -> _Turn:
        """One batch of ours and some pictures of the plain loop's; they take turns at being first."""
        if ours_first:
            mine, ms = self._ours(batch, size, watch)
        theirs, seconds = self._plain(batch[:NAIVE])
        if not ours_first:
            mine, ms = self._ours(batch, size, watch)
        return _Turn(1000 * size / ms["whole"], len(theirs) / seconds, ms, _apart(mine[0], theirs[0]))

    def _ours(
        self, batch: Sequence[Row], size: int, watch: clocks.Watch
    ) -> tuple[list[NDArray[np.uint8]], dict[str, float]]:
        """Pixels of a batch, and milliseconds of its stages."""
        watch.begin()
        made = self._renderer.render(batch, size)
        taken = watch.end()
        return [_pixels(one) for one in made], taken

    def _plain(self, batch: Sequence[Row]) -> tuple[list[NDArray[np.uint8]], float]:
        """Pixels of rows by one diffusers call each, and the seconds they took."""
        self._naive.scheduler = schedulers.make(batch[0].params["scheduler"], None, self._config)
        began = clocks.now(self._device)
        # What a loop has that nobody compiled, and whose rows may know their place.
        with torch.compiler.set_stance("force_eager"), steady.off():
            made = [_called(self._naive, row) for row in batch]
        return [np.asarray(image) for image in made], clocks.now(self._device) - began

    def _placed(self, rows: Sequence[Row], size: int) -> dict[str, dict[str, float]]:
        """How far a picture is from itself at other places."""
        few = [replace(row, params={**row.params, "steps": min(row.params["steps"], EXACT_STEPS)}) for row in rows]
        with clocks.Watch(self._pipe, self._device, keep=True) as watch:

            def draw(batch: Sequence[Row]) -> tuple[list[NDArray[np.uint8]], torch.Tensor]:
                self._renderer.forget()  # texts have a place too
                pixels, _ = self._ours(batch, size, watch)
                assert watch.decoded is not None
                return pixels, watch.decoded

            return exact.compare(few, size, draw)


def needed(size: int, rounds: int) -> int:
    """How many rows a batch shape is measured by."""
    return size * max(2, WARM + rounds)


def _naive(pipe: Any) -> Any:
    """Another pipeline of the same class over the same networks, as a script makes one."""
    extra = {} if "XL" in type(pipe).__name__ else {"requires_safety_checker": False}
    made = type(pipe)(**pipe.components, **extra)
    made.set_progress_bar_config(disable=True)
    return made


def _called(pipe: Any, row: Row) -> Any:
    """One picture of a script's loop: a PIL image."""
    params = row.params
    return pipe(
        params["prompt"],
        negative_prompt=params["negative_prompt"],
        num_inference_steps=params["steps"],
        guidance_scale=params["guidance_scale"],
        width=params["width"],
        height=params["height"],
        generator=torch.Generator("cpu").manual_seed(params["seed"]),
    ).images[0]


def _pixels(one: Picture | RowError) -> NDArray[np.uint8]:
    if isinstance(one, RowError):
        raise PictureError(f"random weights gave no picture: {one}") from one
    return one.pixels


def _apart(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> int:
    return int(np.abs(one.astype(np.int16) - other.astype(np.int16)).max())
