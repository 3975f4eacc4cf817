"""The ways that are compared: sdbatch through its API, and the loops that people write with diffusers."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import timing
from numpy.typing import NDArray
from PIL import Image

from sdbatch import api, plan
from sdbatch.render import device
from sdbatch.sources.models import EMBEDDED

DEMO = EMBEDDED / "demo"
STEPS = 20
PROMPT = "a large {color} {shape} in the center on a white background"
COLORS = ["red", "yellow", "green", "purple", "blue", "black", "orange", "pink"]
SHAPES = ["circle", "square", "triangle", "star"]
GUIDANCE = 4.0
Loop = tuple[dict[str, Any], ...]


class Silent:
    """A listener that hears nothing."""

    def begin(self, planned: Any, left: int, directory: Path) -> None: ...

    def rows(self, count: int) -> None: ...

    def result(self, result: Any) -> None: ...

    def say(self, text: str) -> None: ...


def demo_job(rows: int, **more: Any) -> dict[str, Any]:
    """A job of so many rows that differ in prompt and seed."""
    colors = COLORS[: -(-rows // len(SHAPES))]
    seeds = -(-rows // (len(colors) * len(SHAPES)))
    grid = {"color": colors, "shape": SHAPES, "seed": {"range": [0, seeds]}}
    how = {"width": 64, "height": 64, "steps": STEPS, "scheduler": "ddim", "guidance_scale": GUIDANCE}
    output = {"filename": "{color}-{shape}-{seed:03d}"}
    return {"model": "demo", "prompt": PROMPT, **how, "grid": grid, "output": output, **more}


def write_job(job: Mapping[str, Any], folder: Path) -> Path:
    """The job as a spec of a folder."""
    import yaml

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(dict(job), sort_keys=False), encoding="utf-8")
    return path


def calls(job: Path, rows: int) -> Loop:
    """What a loop needs of each row: prompt, seed, guidance, file name."""
    made = api.job(job, out=job.parent / "never").rows.take(range(rows))
    return tuple({**{name: row.params[name] for name in ("prompt", "seed", "guidance_scale", "width", "height")},
                  "name": Path(row.path).name} for row in made)  # fmt: skip


def batch_size(width: int, height: int) -> int:
    """What `auto` is here."""
    return plan.batch_size(device.settings({}), device.describe("cpu").memory, width, height)


def sdbatch(job: Path, out: Path, rows: int, **options: Any) -> Callable[[], float]:
    """A whole run: plan, load, render, write, manifest. Its seconds."""

    def run() -> float:
        shutil.rmtree(out, ignore_errors=True)
        began = timing.clock()
        report = api.run(api.job(job, out=out), api.RunOptions(limit=rows, **options), Silent())
        taken = timing.clock() - began
        assert report.made == rows, report
        return taken

    return run


def pipeline() -> Any:
    """The demo model as a script loads it."""
    import diffusers
    import torch
    import transformers

    for library in (diffusers.utils.logging, transformers.utils.logging):
        library.set_verbosity_error()
        library.disable_progress_bar()
    pipe = diffusers.StableDiffusionPipeline.from_pretrained(DEMO, safety_checker=None, dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def diffusers_loop(
    work: Loop, out: Path, size: int | None, load: Callable[[], Any] = pipeline, threads: int | None = None
) -> Callable[[], float]:
    """Load, then call the pipeline and save each picture. Its seconds.

    Args:
        size: prompts a call; None is one call a prompt.
        load: gives the pipeline.
        threads: of torch; None is what it takes by itself.
    """
    import torch

    def run() -> float:
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        if threads is not None:
            torch.set_num_threads(threads)
        began = timing.clock()
        pipe = load()
        step = size or 1
        for start in range(0, len(work), step):
            some = work[start : start + step]
            prompts = [one["prompt"] for one in some]
            draws = [torch.Generator("cpu").manual_seed(one["seed"]) for one in some]
            images = pipe(
                prompts if size else prompts[0],
                num_inference_steps=STEPS,
                guidance_scale=some[0]["guidance_scale"],
                width=some[0]["width"],
                height=some[0]["height"],
                generator=draws if size else draws[0],
            ).images
            for one, image in zip(some, images, strict=True):
                image.save(out / one["name"])
        return timing.clock() - began

    return run


def photograph(seed: int, side: int) -> NDArray[np.uint8]:
    """(side, side, 3) uint8 with a photograph's spectrum (amplitude as 1/f) and a little sensor noise."""
    rng = np.random.default_rng(seed)
    across = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
    across[0, 0] = 1.0
    planes = [np.fft.irfft2(np.fft.rfft2(rng.standard_normal((side, side))) / across, (side, side)) for _ in range(3)]
    shared = planes[0]
    mixed = np.stack([shared + 0.25 * plane / plane.std() * shared.std() for plane in planes], axis=-1)
    made = 128 + 48 * mixed / mixed.std() + rng.normal(0, 1.5, mixed.shape)
    return made.clip(0, 255).astype(np.uint8)


def differences(one: Path, other: Path, names: Sequence[str]) -> float:
    """The largest difference of two pictures of one name, of 255."""
    worst = 0
    for name in names:
        pair = [np.asarray(Image.open(folder / name).convert("RGB"), np.int16) for folder in (one, other)]
        worst = max(worst, int(np.abs(pair[0] - pair[1]).max()))
    return worst
