"""Lossy speed-ups: time, how far pictures are from those without, and whether they still show what was asked for.

python benchmarks/speedups.py [--rows 64] [--steps 20] [--rounds 5] [--calls 10]

Demo rows, rendered alone, with each value of `accelerate` in turns. Then calls of a UNet of Stable Diffusion 1.5's
shape at a quarter of its widths, with random weights: time alone, since it has no pictures. BENCH_CLOCK=cpu counts
seconds of the one thread that works. (Not named accelerate.py: diffusers would find it in place of that package.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import timing
import torch
from numpy.typing import NDArray

from sdbatch.demo import judge, scenes, score
from sdbatch.render import acceleration, device
from sdbatch.render.batch import Picture
from sdbatch.render.renderer import Renderer
from sdbatch.sources.names import Sources
from sdbatch.spec import load
from sdbatch.spec.grid import Rows
from sdbatch.types import Row

BATCH = 8
WITHOUT = "without"
WAYS: dict[str, dict[str, float] | None] = {
    WITHOUT: None,
    "deepcache 2": {"deepcache": 2},
    "deepcache 3": {"deepcache": 3},
    "deepcache 5": {"deepcache": 5},
    "tome 0.25": {"tome": 0.25},
    "tome 0.5": {"tome": 0.5},
    "tome 0.75": {"tome": 0.75},
    "deepcache 2, tome 0.5": {"deepcache": 2, "tome": 0.5},
}
Pixels = NDArray[np.uint8]


def rows(scene: Sequence[scenes.Scene], seeds: Sequence[int], steps: int, sources: Sources) -> dict[str, list[Row]]:
    """The same rows for each of WAYS."""
    made = {}
    for name, wanted in WAYS.items():
        job = {"steps": steps, "zip": {"prompt": [scenes.caption(one) for one in scene], "seed": list(seeds)}}
        made[name] = list(
            Rows(load.job_from_mapping({**job, "accelerate": wanted}, Path()), None, sources).take(range(len(scene)))
        )
    return made


def drawn(renderer: Renderer, work: Sequence[Row]) -> Pixels:
    """(n, 64, 64, 3) pictures of the rows."""
    found = [one for at in range(0, len(work), BATCH) for one in renderer.render(work[at : at + BATCH], BATCH)]
    return np.stack([one.pixels for one in found if isinstance(one, Picture)])


def apart(base: Pixels, other: Pixels) -> dict[str, Any]:
    """How far pictures are from those without: PSNR in dB, and the largest difference of a value, 0 to 255."""
    difference = base.astype(np.float64) - other
    errors = np.square(difference).mean(axis=(1, 2, 3))
    if not difference.any():
        return {"psnr_median": None, "psnr_least": None, "largest_difference": 0}
    psnr = 10 * np.log10(255**2 / np.maximum(errors, 1e-9))
    return {
        "psnr_median": round(float(np.median(psnr)), 1),
        "psnr_least": round(float(psnr.min()), 1),
        "largest_difference": int(np.abs(difference).max()),
    }


def demo(options: Any) -> list[dict[str, Any]]:
    """Results of the demo model."""
    sources = Sources(Path())
    wanted, seeds, _ = score.pairs(options.rows)
    work = rows(wanted, seeds, options.steps, sources)
    renderer = Renderer(device.settings({"threads": 1, "device": "cpu", "batch_size": BATCH}), sources)
    pictures: dict[str, Pixels] = {}

    def way(name: str) -> timing.Way:
        def render() -> float:
            began = timing.clock()
            pictures[name] = drawn(renderer, work[name])
            return timing.clock() - began

        return render

    seconds = timing.interleaved({name: way(name) for name in WAYS}, options.rounds)
    found = []
    for name in WAYS:
        hits = score.right(judge.read(pictures[name]), wanted)
        read = {"read_rightly": f"{int(hits['all three'].sum())} of {len(wanted)}"}
        more = {**apart(pictures[WITHOUT], pictures[name]), **read}
        found.append(timing.compared(f"demo model: {name}", seconds, name, WITHOUT, None, **more))
    return found


def shape(options: Any) -> list[dict[str, Any]]:
    """Results of the UNet of Stable Diffusion 1.5's shape: (1, 4, 64, 64) latents, one picture, no guidance."""
    import diffusers

    torch.manual_seed(0)
    unet = diffusers.UNet2DConditionModel(
        sample_size=64, block_out_channels=(80, 160, 320, 320), norm_num_groups=16, cross_attention_dim=768
    ).eval()
    pipe = SimpleNamespace(unet=unet, vae_scale_factor=8)
    latents, texts = torch.randn(1, 4, 64, 64), torch.randn(1, 77, 768)

    def way(wanted: Mapping[str, float] | None) -> timing.Way:
        def call() -> float:
            began = timing.clock()
            with torch.inference_mode(), acceleration.on(pipe, wanted, (512, 512)):
                for step in range(options.calls):
                    unet(latents, 900 - step, encoder_hidden_states=texts)
            return timing.clock() - began

        return call

    seconds = timing.interleaved({name: way(wanted) for name, wanted in WAYS.items()}, options.rounds)
    title = "SD 1.5's shape, a quarter as wide"
    return [timing.compared(f"{title}: {name}", seconds, name, WITHOUT, None) for name in WAYS]


def main() -> None:
    """Measure, and print one JSON object."""
    parser = timing.options(__doc__, rounds=5)
    parser.add_argument("--rows", type=int, default=64, help="of the demo model; 0 leaves it out (default: 64)")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--calls", type=int, default=10, help="of the larger UNet; 0 leaves it out (default: 10)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = [*(demo(options) if options.rows else []), *(shape(options) if options.calls else [])]
    timing.report("speedups", found, rows=options.rows, steps=options.steps, batch=BATCH, threads=1)


if __name__ == "__main__":
    main()
