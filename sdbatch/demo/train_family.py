"""Train the demo family from `demo`'s weights: one model a process, so that two can train at once.

    python -m sdbatch.demo.train_family inpaint upscaler --work .train/family --out sdbatch/demo/weights
    python -m sdbatch.demo.train_family estimator depth controlnet --work .train/family --out sdbatch/demo/weights

Everything is drawn from (seed, step), and checkpoints are replaced whole every two minutes, as in `train`.
`--export` writes what the checkpoints hold so far, and trains nothing.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from sdbatch.demo import conditions, family, scenes
from sdbatch.demo.train import autocast
from sdbatch.demo.trainer import Loss, Trainer, tensor

BATCH = 32
STEPS = {"inpaint": 700, "estimator": 1200, "depth": 420, "controlnet": 700, "upscaler": 1500}
RATES = {"inpaint": 6e-4, "estimator": 1e-3, "depth": 5e-4, "controlnet": 8e-4, "upscaler": 8e-4}


def inpaint(trainer: Trainer, unet: Any) -> Loss:
    """v-prediction MSE, three times as heavy where it is repainted."""
    latents, data = trainer.latents, trainer.data

    def loss(step: int, rng: np.random.Generator) -> torch.Tensor:
        picks = rng.integers(0, len(data.scenes), BATCH)
        masks = np.stack([conditions.hole(data.scenes[pick], rng) for pick in picks])
        mask = torch.from_numpy(masks)[:, None].float()
        pixels = tensor(data.pictures[picks]) * (1 - mask)
        with torch.no_grad():
            seen = trainer.base.vae.encode(pixels).latent_dist.mean.float() * trainer.base.scale
        cells = functional.max_pool2d(mask, 4)
        noisy, t, target = trainer.noised(latents[torch.from_numpy(picks)])
        hidden = trainer.hidden(trainer.captions(picks, rng))
        given = torch.cat([noisy, cells, seen], 1).to(memory_format=torch.channels_last)
        with autocast():
            v = unet(given, t, encoder_hidden_states=hidden, return_dict=False)[0]
        weight = 1 + 2 * cells
        found: torch.Tensor = (weight * (v.float() - target).square()).mean() / weight.mean()
        return found

    return loss


def estimator(trainer: Trainer, network: Any) -> Loss:
    """MSE of depth and of its steps from pixel to pixel. (L1 stays at the median, which is the ground.)"""
    rng = np.random.default_rng([trainer.seed, 31])
    worlds = [scenes.sample(rng, held=False) for _ in range(trainer.count // 2)]
    pictures = np.stack([scenes.render(one) for one in worlds])
    truths = torch.from_numpy(np.stack([conditions.depth(one) for one in worlds]))[:, None]

    def loss(step: int, rng: np.random.Generator) -> torch.Tensor:
        picks = rng.integers(0, len(worlds), BATCH // 2)
        with autocast():
            found = network(tensor(pictures[picks])).predicted_depth[:, None].float()
        off = found - functional.interpolate(truths[torch.from_numpy(picks)], found.shape[2:], mode="bilinear")
        steps = (off[..., 1:] - off[..., :-1]).square().mean() + (off[..., 1:, :] - off[..., :-1, :]).square().mean()
        total: torch.Tensor = off.square().mean() + steps
        return total

    return loss


def depth(trainer: Trainer, unet: Any) -> Loss:
    """v-prediction MSE; the depth is the truth half of the time, and else what the estimator says."""
    network = family.make_estimator()
    if not trainer.restored("estimator", network):
        raise SystemExit("train the estimator first")
    data, latents = trainer.data, trainer.latents
    truths = torch.from_numpy(np.stack([conditions.depth(scene) for scene in data.scenes]))[:, None]
    with torch.no_grad():
        parts = [network(tensor(data.pictures[at : at + 64])).predicted_depth for at in range(0, len(truths), 64)]
    both = torch.stack([_latent_depth(truths), _latent_depth(torch.cat(parts)[:, None])])

    def loss(step: int, rng: np.random.Generator) -> torch.Tensor:
        picks = rng.integers(0, len(data.scenes), BATCH)
        seen = both[torch.from_numpy(rng.integers(0, 2, BATCH)), torch.from_numpy(picks)]
        noisy, t, target = trainer.noised(latents[torch.from_numpy(picks)])
        hidden = trainer.hidden(trainer.captions(picks, rng, told=0.6))
        given = torch.cat([noisy, seen], 1).to(memory_format=torch.channels_last)
        with autocast():
            v = unet(given, t, encoder_hidden_states=hidden, return_dict=False)[0]
        found: torch.Tensor = (v.float() - target).square().mean()
        return found

    return loss


def _latent_depth(depths: torch.Tensor) -> torch.Tensor:
    """As the pipeline makes them: (n, 1, h, w) → (n, 1, 16, 16), each from -1 to 1."""
    side = scenes.SIDE // 4
    found = functional.interpolate(depths, (side, side), mode="bicubic", align_corners=False)
    low, high = (found.amin((1, 2, 3), keepdim=True), found.amax((1, 2, 3), keepdim=True))
    return 2 * (found - low) / (high - low) - 1


def controlnet(trainer: Trainer, network: Any) -> Loss:
    """v-prediction MSE of `demo` beside the ControlNet; half of the captions do not say the shape."""
    data, latents = trainer.data, trainer.latents
    lines = np.stack([conditions.edges(picture) for picture in data.pictures])

    def loss(step: int, rng: np.random.Generator) -> torch.Tensor:
        picks = rng.integers(0, len(data.scenes), BATCH)
        seen = torch.from_numpy(lines[picks]).float()[:, None].expand(-1, 3, -1, -1) / 255
        noisy, t, target = trainer.noised(latents[torch.from_numpy(picks)])
        noisy = noisy.to(memory_format=torch.channels_last)
        hidden = trainer.hidden(trainer.captions(picks, rng, told=0.5))
        with autocast():
            down, middle = network(
                noisy, t, encoder_hidden_states=hidden, controlnet_cond=seen.contiguous(), return_dict=False
            )
            v = trainer.base.unet(
                noisy,
                t,
                encoder_hidden_states=hidden,
                down_block_additional_residuals=down,
                mid_block_additional_residual=middle,
                return_dict=False,
            )[0]
        found: torch.Tensor = (v.float() - target).square().mean()
        return found

    return loss


def upscaler(trainer: Trainer, unet: Any) -> Loss:
    """v-prediction MSE on whole scenes and on windows of scenes four times as large, half of each."""
    data = trainer.data
    rng = np.random.default_rng([trainer.seed, 37])
    windows = np.stack([scenes.render(conditions.window(scene, rng)) for scene in data.scenes])
    pictures = np.concatenate([data.pictures, windows])
    latents = torch.cat([trainer.latents, trainer.encoded(windows)])
    small = conditions.small(pictures)
    scheduler: Any = family.low_res_scheduler()

    def loss(step: int, rng: np.random.Generator) -> torch.Tensor:
        picks = rng.integers(0, len(data.scenes), BATCH)
        places = picks + np.where(np.arange(BATCH) % 2, len(data.scenes), 0)
        levels = torch.from_numpy((family.NOISE_LEVELS * rng.random(BATCH) ** 3).astype(np.int64))
        low = tensor(small[places])
        low = scheduler.add_noise(low, torch.randn_like(low), levels)
        noisy, t, target = trainer.noised(latents[torch.from_numpy(places)])
        hidden = trainer.hidden(trainer.captions(picks, rng))
        given = torch.cat([noisy, low], 1).to(memory_format=torch.channels_last)
        with autocast():
            v = unet(given, t, encoder_hidden_states=hidden, class_labels=levels, return_dict=False)[0]
        found: torch.Tensor = (v.float() - target).square().mean()
        return found

    return loss


_LOSSES: dict[str, Callable[[Trainer, Any], Loss]] = {
    "inpaint": inpaint,
    "estimator": estimator,
    "depth": depth,
    "controlnet": controlnet,
    "upscaler": upscaler,
}


def made(name: str, base: family.Base, seed: int) -> Any:
    """The network of a stage, as it is before training."""
    torch.manual_seed(seed + 3)
    if name == "estimator":
        return family.make_estimator()
    return getattr(family, f"make_{name}")(base)


def export(trainer: Trainer, out: Path) -> list[str]:
    """Write the folder of each model that has a checkpoint; gives their names."""
    found = {name: made(name, trainer.base, trainer.seed) for name in STEPS}
    found = {name: module for name, module in found.items() if trainer.restored(name, module)}
    plain = {"requires_safety_checker": False, "safety_checker": [None, None], "feature_extractor": [None, None]}
    written = []
    if "inpaint" in found:
        parts = {"unet": ("diffusers", found["inpaint"])}
        family.write(out / "demo-inpaint", "StableDiffusionInpaintPipeline", parts, **plain)
        written.append("demo-inpaint")
    if {"depth", "estimator"} <= found.keys():
        both = {
            "unet": ("diffusers", found["depth"]),
            "depth_estimator": ("transformers", found["estimator"]),
            "feature_extractor": ("transformers", family.make_extractor()),
        }
        family.write(out / "demo-depth", "StableDiffusionDepth2ImgPipeline", both)
        written.append("demo-depth")
    if "controlnet" in found:
        family.save(out / "demo-controlnet", found["controlnet"])
        written.append("demo-controlnet")
    if "upscaler" in found:
        parts = {
            "unet": ("diffusers", found["upscaler"]),
            "low_res_scheduler": ("diffusers", family.low_res_scheduler()),
        }
        more = {"safety_checker": [None, None], "feature_extractor": [None, None], "watermarker": [None, None]}
        levels = family.NOISE_LEVELS
        family.write(out / "demo-upscaler", "StableDiffusionUpscalePipeline", parts, max_noise_level=levels, **more)
        written.append("demo-upscaler")
    return written


def main(arguments: list[str] | None = None) -> None:
    """Train what is named and not trained yet in --work, then write the folders of all that have checkpoints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("stages", nargs="*", choices=[*STEPS, []], help="in this order")
    parser.add_argument("--work", type=Path, default=Path(".train/family"), help="checkpoints; kept between runs")
    parser.add_argument("--out", type=Path, required=True, help="where the folders are written")
    parser.add_argument("--scenes", type=int, default=8_000)
    parser.add_argument("--steps", type=int, help="of every stage named; by default each its own number")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--export", action="store_true", help="train nothing; write what there is")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    options.work.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(family.Base(), options.work, options.scenes, options.seed)
    for name in () if options.export else options.stages:
        module = made(name, trainer.base, options.seed)
        trainer.loop(name, module, _LOSSES[name](trainer, module), options.steps or STEPS[name], RATES[name])
    print("\n".join(export(trainer, options.out)), flush=True)


if __name__ == "__main__":
    main()
