"""Jobs over every mode and sampler of the demo family, and the ways in which their rows may come to be made."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st
from PIL import Image
from safetensors.numpy import save_file

from sdbatch import plan
from sdbatch.demo import scenes
from sdbatch.parameters import SCHEDULERS, WITH_SIGMAS
from sdbatch.sources.names import Sources
from sdbatch.spec import load
from sdbatch.spec.grid import Rows
from sdbatch.types import Lease, LeaseResult, Output, Render
from sdbatch.workers import dispatch
from sdbatch.workers.task import Task
from sdbatch.workers.worker import Worker

RENDER = Render(4, 1, "float32", "cpu", "sdpa", False, False, "auto", "degrade")
PICTURES = ["red.png", "blue.png"]
KINDS: dict[str, dict[str, Any]] = {
    "txt2img": {"model": "demo", "mode": "txt2img"},
    "img2img": {"model": "demo", "mode": "img2img", "strength": 0.7},
    "inpaint": {"model": "demo-inpaint", "mode": "inpaint", "mask": [8, 8, 40, 40], "strength": 1},
    "inpaint-plain": {"model": "demo", "mode": "inpaint", "mask": [20, 8, 30, 50], "strength": 0.8},
    "outpaint": {"model": "demo", "mode": "outpaint", "outpaint": {"right": 16}},
    "depth2img": {"model": "demo-depth", "mode": "depth2img", "strength": 1},
    "controlnet": {"model": "demo", "mode": "controlnet", "controlnet": "demo-controlnet",
                   "control_preprocessor": "canny"},
    "upscale": {"model": "demo-upscaler", "mode": "upscale"},
    "upscale-tiles": {"model": "demo", "mode": "upscale", "scale": 1.5, "tile": 64, "overlap": 8, "strength": 0.7},
}  # fmt: skip
"""What each kind of job has, but for its pictures."""
PROMPTS = [
    "a large red star",
    "a (green:1.4) circle on a [black] background",
    "a small blue heart, " * 20,  # more than one chunk
]
Job = dict[str, Any]
Pixels = dict[str, str]
"""pixel_sha256 by id."""


def inputs(base: Path) -> None:
    """Write what jobs name: two pictures of 64 x 64, the same at 16 x 16, and a LoRA."""
    for color, shape in (("red", "circle"), ("blue", "star")):
        whole = Image.fromarray(scenes.render(scenes.Scene(shape, color, "large", "center", "white")))
        whole.save(base / f"{color}.png")
        small = np.asarray(whole.resize((16, 16), Image.Resampling.BOX))
        Image.fromarray(small).save(base / f"small-{color}.png")
    layer = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k"
    draw = np.random.default_rng(0)
    halves = {"down": (4, 128), "up": (96, 4)}  # of the demo model's layer, 96 x 128
    tensors = {f"{layer}.lora_{name}.weight": draw.normal(size=size).astype("f4") for name, size in halves.items()}
    (base / "loras").mkdir()
    save_file(tensors, base / "loras" / "strong.safetensors")


def job(kind: str, axes: Mapping[str, list[Any]], **more: Any) -> Job:
    """A job of a kind with these axes; its picture is an axis unless `more` names one."""
    given = dict(KINDS[kind])
    name = {"txt2img": None, "controlnet": "control_image"}.get(kind, "image")
    pictures = [f"small-{one}" if kind == "upscale" else one for one in PICTURES]
    grid = {**axes, **({name: pictures} if name else {})}
    return {"name": "exactly", "prompt": PROMPTS[0], "steps": 2, **given, **more, "grid": grid}


@st.composite
def jobs(
    draw: st.DrawFn, kinds: Sequence[str] = tuple(KINDS), samplers: Sequence[str] = SCHEDULERS, *, small: bool = False
) -> Job:
    """Jobs of these kinds, of 6 to 24 rows in a few batch keys; small ones of 6 and two steps, fine-tunes or not."""
    kind = draw(st.sampled_from(kinds))
    scheduler = draw(st.sampled_from(samplers))
    more: dict[str, Any] = {"scheduler": scheduler, "steps": 2 if small else draw(st.integers(2, 3))}
    if scheduler in WITH_SIGMAS:
        more["sigmas"] = draw(st.sampled_from([None, "karras", "exponential", "beta"]))
    if scheduler == "ddim":
        more["eta"] = draw(st.sampled_from([0.0, 0.5, 1.0]))
    seeds = draw(st.lists(st.integers(0, 2**32 - 1), min_size=3, max_size=3, unique=True))
    assume(max(seeds) > 1000)  # the plainest of all jobs, which comes first, shows least
    axes: dict[str, list[Any]] = {"seed": seeds}
    if kind == "txt2img":
        axes["prompt"] = draw(st.permutations(PROMPTS))[:2]
        axes["loras"] = draw(st.sampled_from([[[]], [[], ["strong"]]]))
    else:
        more["prompt"] = draw(st.sampled_from(PROMPTS))
    more["guidance_scale"] = draw(st.sampled_from([1, 3, 7.5]))
    if not small and not kind.startswith("upscale"):
        more["accelerate"] = draw(st.sampled_from([None, {"deepcache": 2}, {"tome": 0.5}]))
    if not small and draw(st.booleans()):
        axes["guidance_scale"] = [more["guidance_scale"], more["guidance_scale"] + 1]
    return job(kind, axes, **more)


class Three:
    """Three workers behind one pool, which take turns as `draw` has it.

    Args:
        workers: one or more.
    """

    def __init__(self, workers: Sequence[Worker], draw: random.Random) -> None:
        self._workers, self._draw = workers, draw
        self._hands: dict[int, Lease] = {}

    def room(self) -> bool:
        return len(self._hands) < len(self._workers)

    def submit(self, lease: Lease) -> None:
        free = [at for at in range(len(self._workers)) if at not in self._hands]
        self._hands[self._draw.choice(free)] = lease

    def busy(self) -> bool:
        return bool(self._hands)

    def next(self) -> list[LeaseResult]:
        at = self._draw.choice(sorted(self._hands))
        return [self._workers[at].run(self._hands.pop(at))]

    def stop(self) -> None: ...

    def close(self) -> None: ...


class Bench:
    """Makes jobs without a whole run around them; its workers keep their models from job to job.

    Args:
        base: holds the inputs, and what is written.
    """

    def __init__(self, base: Path) -> None:
        task = Task("run", base / "run", base, RENDER, Output(), 0, {})
        self.base, self._sources = base, Sources(base)
        self._workers = [Worker(task) for _ in range(3)]

    def rows(self, given: Job) -> Rows:
        """A job's rows."""
        return Rows(load.job_from_mapping(dict(given), self.base), None, self._sources)

    def batched(self, given: Job, workers: int = 1) -> Pixels:
        """Every row as a run with so many workers has it."""
        rows = self.rows(given)
        planned = plan.make(rows.batches(), len(rows), lambda *key: RENDER.batch_size)
        return self._made(planned.leases(rows.take, workers), _chance(given), workers)

    def alone(self, given: Job, count: int = 3) -> Pixels:
        """Some of the rows, each in a lease of its own."""
        rows = self.rows(given)
        some = _chance(given).sample(range(len(rows)), min(count, len(rows)))
        return self._made((Lease(at, (row,)) for at, row in enumerate(rows.take(some))), _chance(given))

    def shuffled(self, given: Job) -> Pixels:
        """The same rows from axes in another order, with their values in another order."""
        draw, grid = _chance(given), list(given["grid"].items())
        axes = {name: draw.sample(values, len(values)) for name, values in draw.sample(grid, len(grid))}
        axes["seed"] = axes["seed"][1:] + axes["seed"][:1]
        return self.batched({**given, "grid": axes})

    def more(self, given: Job) -> Pixels:
        """The rows among others, which come before and after."""
        axes = dict(given["grid"])
        axes["seed"] = [77, *axes["seed"], 78]
        return self.batched({**given, "grid": axes})

    def fewer(self, given: Job) -> Pixels:
        """What is left of the rows where each axis has lost its first value."""
        axes = {name: values[1:] if len(values) > 1 else values for name, values in given["grid"].items()}
        return self.batched({**given, "grid": axes})

    def three(self, given: Job) -> Pixels:
        """The rows by three workers."""
        return self.batched(given, 3)

    def _made(self, leases: Iterator[Lease], draw: random.Random, workers: int = 1) -> Pixels:
        found: Pixels = {}

        def commit(results: Sequence[LeaseResult]) -> None:
            for result in results:
                assert not result.failures, result.failures
                found.update((record["id"], record["pixel_sha256"]) for record in result.records)

        dispatch.run(leases, Three(self._workers[:workers], draw), commit)
        return found


def _chance(given: Job) -> random.Random:
    """The same chance for the same job."""
    return random.Random(json.dumps(given, sort_keys=True))


Way = Callable[[Job], Pixels]


def differing(ways: Mapping[str, Way], reference: Pixels, given: Job) -> dict[str, set[str]]:
    """By way, the ids whose pixels are not the reference's; a way must share ids with it."""
    found = {}
    for name, way in ways.items():
        pixels = way(given)
        shared = pixels.keys() & reference.keys()
        assert shared, f"{name}: no row in common"
        found[name] = {key for key in shared if pixels[key] != reference[key]}
    return found
