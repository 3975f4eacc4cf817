"""Train the demo family from `demo`'s weights: one model a process, so that two can train at once.

    python -m sdbatch.demo.train_family inpaint upscaler --work .train/family --out sdbatch/demo/weights
    python -m sdbatch.demo.train_family estimator depth controlnet --work .train/family --out sdbatch/demo/weights

Everything is drawn from (seed, step), and checkpoints are replaced whole every two minutes, as in `train`.
`--export` writes what the checkpoints hold so far, and trains nothing.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from sdbatch.demo import conditions, family, networks, scenes
from sdbatch.demo.train import Loop, SceneSet

BATCH = 32
STEPS = {"inpaint": 700, "estimator": 1600, "depth": 500, "controlnet": 700, "upscaler": 800}
RATES = {"inpaint": 6e-4, "estimator": 1e-3, "depth": 5e-4, "controlnet": 8e-4, "upscaler": 8e-4}
Loss = Callable[[int, np.random.Generator], torch.Tensor]


@dataclass
class Trainer:
    """What every training shares: the base model, the scenes, and where checkpoints lie."""

    base: family.Base
    work: Path
    count: int
    seed: int

    @cached_property
    def data(self) -> SceneSet:
        """Scenes to train on, rendered once."""
        return SceneSet(self.count, self.seed)

    @cached_property
    def latents(self) -> torch.Tensor:
        """(n, 4, 16, 16), scaled."""
        return self.encoded(self.data.pictures)

    def encoded(self, pictures: NDArray[np.uint8]) -> torch.Tensor:
        """Means of pictures' latents, scaled: (n, 64, 64, 3) → (n, 4, 16, 16)."""
        with torch.no_grad():
            parts = [
                self.base.vae.encode(tensor(pictures[at : at + 64])).latent_dist.mean
                for at in range(0, len(pictures), 64)
            ]
        return torch.cat(parts) * self.base.scale

    def hidden(self, texts: list[str]) -> torch.Tensor:
        """Prompt embeddings: (n, 77, 128)."""
        with torch.no_grad():
            return self.base.text(networks.token_ids(self.base.tokenizer, texts))[0]

    def captions(self, picks: NDArray[np.int64], rng: np.random.Generator, told: float = 1.0) -> list[str]:
        """A caption each, one in ten empty; with chance 1 - `told` the shape is only called a shape."""
        texts = []
        for pick in picks:
            scene = self.data.scenes[pick]
            text = "" if rng.random() < 0.1 else scenes.caption(scene, rng)
            texts.append(text if rng.random() < told else text.replace(scene.shape, "shape"))
        return texts

    def noised(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Noisy latents, their timesteps (stratified), and the velocity to predict.

        Salimans & Ho 2022: v = alpha * noise - sigma * x.
        """
        alphas = networks.make_scheduler().alphas_cumprod
        t = ((torch.arange(len(x)) + torch.rand(len(x))) / len(x) * 1000).long()
        a, s = (part[:, None, None, None] for part in (alphas[t].sqrt(), (1 - alphas[t]).sqrt()))
        noise = torch.randn_like(x)
        return (a * x + s * noise), t, a * noise - s * x

    def loop(self, name: str, module: torch.nn.Module, loss: Loss, steps: int) -> None:
        """Train a module; the averaged weights are in it afterwards."""
        Loop(name, self.work, {name: module}, steps, RATES[name], self.seed + 10).run(loss)

    def restored(self, name: str, module: torch.nn.Module) -> bool:
        """Put the averaged weights of a checkpoint into a module, whether there is one."""
        path = self.work / f"{name}.pt"
        if not path.exists():
            return False
        state = torch.load(path, weights_only=True)
        module.load_state_dict(state["modules"][name])
        for weight, mean in zip(module.parameters(), state["average"], strict=True):
            weight.data.copy_(mean)
        module.eval()
        return True


def _autocast() -> Any:
    """bfloat16 where the CPU has it; where it has not, that takes ten times as long as float32."""
    fast = torch.backends.cpu.get_cpu_capability() == "AVX512"
    return torch.autocast("cpu", torch.bfloat16, enabled=fast)


def tensor(pictures: NDArray[np.uint8]) -> torch.Tensor:
    """(n, h, w, 3) uint8 → (n, 3, h, w) float32 in -1 to 1."""
    pixels = torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1
    return pixels.to(memory_format=torch.channels_last)


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
        with _autocast():
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
        with _autocast():
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
        with _autocast():
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
        with _autocast():
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
        with _autocast():
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
        trainer.loop(name, module, _LOSSES[name](trainer, module), options.steps or STEPS[name])
    print("\n".join(export(trainer, options.out)), flush=True)


if __name__ == "__main__":
    main()
