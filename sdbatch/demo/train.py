"""Train the demo model: tokenizer, VAE, then UNet and text encoder together, then the judge.

    python -m sdbatch.demo.train --work .train --out sdbatch/demo/weights

Everything is drawn from (seed, step), so a run that is killed and started again makes the steps it
would have made. Checkpoints are replaced whole, every two minutes and at the end of a stage.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from torch.nn import functional

from sdbatch.demo import networks, scenes
from sdbatch.demo.scenes import ATTRIBUTES

SAVE_SECONDS = 120.0


class Loop:
    """The part that every stage shares: optimizer, learning rate, checkpoints, progress.

    Args:
        name: stage; its checkpoint is `work/NAME.pt`.
        modules: what is trained and saved.
        rate: peak learning rate; 100 steps up, linearly down over the last 40 %.
    """

    def __init__(
        self, name: str, work: Path, modules: dict[str, torch.nn.Module], steps: int, rate: float, seed: int
    ) -> None:
        self.name, self.path, self.modules = name, work / f"{name}.pt", modules
        self.steps, self.rate, self.seed, self.step = steps, rate, seed, 0
        self.weights = [p for module in modules.values() for p in module.parameters()]
        self.optimizer = torch.optim.AdamW(self.weights, lr=rate, betas=(0.9, 0.98), weight_decay=1e-3)
        self.average = [p.detach().clone() for p in self.weights]
        if self.path.exists():
            self._load()

    def run(self, loss_at: Callable[[int, np.random.Generator], torch.Tensor]) -> None:
        """Take the steps that are left; loss_at gives the loss of a step from that step's own draws."""
        saved, began, first, shown = time.monotonic(), time.monotonic(), self.step, 0.0
        for module in self.modules.values():
            module.train()
        while self.step < self.steps:
            torch.manual_seed(self.seed * 1_000_003 + self.step)
            loss = loss_at(self.step, np.random.default_rng([self.seed, self.step]))
            self.optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(self.weights, 1.0)
            for group in self.optimizer.param_groups:
                group["lr"] = self._rate()
            self.optimizer.step()
            self.step += 1
            keep = min(0.999, (1 + self.step) / (10 + self.step))
            torch._foreach_lerp_(self.average, [p.detach() for p in self.weights], 1 - keep)
            value = float(loss.detach())
            shown = 0.98 * shown + 0.02 * value if self.step > first + 1 else value
            if self.step % 50 == 0 or self.step == self.steps:
                pace = (time.monotonic() - began) / (self.step - first)
                print(
                    f"{self.name} {self.step}/{self.steps} loss {shown:.4f} {pace:.2f} s/step",
                    file=sys.stderr,
                    flush=True,
                )
            if time.monotonic() - saved > SAVE_SECONDS or self.step == self.steps:
                self._save()
                saved = time.monotonic()
        for weight, mean in zip(self.weights, self.average, strict=True):
            weight.data.copy_(mean)
        for module in self.modules.values():
            module.eval()

    def _rate(self) -> float:
        down = min(1.0, (self.steps - self.step) / max(1, 0.4 * self.steps))
        return self.rate * min(1.0, (self.step + 1) / 100) * down

    def _save(self) -> None:
        state = {
            "step": self.step,
            "modules": {name: module.state_dict() for name, module in self.modules.items()},
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
        }
        part = self.path.with_suffix(".part")
        torch.save(state, part)
        os.replace(part, self.path)

    def _load(self) -> None:
        state = torch.load(self.path, weights_only=True)
        self.step, self.average = state["step"], state["average"]
        for name, module in self.modules.items():
            module.load_state_dict(state["modules"][name])
        self.optimizer.load_state_dict(state["optimizer"])


class SceneSet:
    """Training scenes, rendered once: `pictures` is (n, 64, 64, 3) uint8."""

    def __init__(self, count: int, seed: int) -> None:
        rng = np.random.default_rng([seed, 7])
        self.scenes = [scenes.sample(rng) for _ in range(count)]
        self.pictures: NDArray[np.uint8] = np.stack([scenes.render(scene) for scene in self.scenes])

    def tensor(self, picks: NDArray[np.int64]) -> torch.Tensor:
        """Pictures as the VAE takes them: (len(picks), 3, 64, 64) float32 in -1 to 1."""
        pixels = torch.from_numpy(self.pictures[picks]).permute(0, 3, 1, 2)
        return (pixels.float() / 127.5 - 1).to(memory_format=torch.channels_last)


def train_vae(data: SceneSet, work: Path, steps: int, seed: int, batch: int) -> AutoencoderKL:
    """L1 + MSE + edge L1 + 1e-3 KL; every other step on random 32 x 32 crops."""
    torch.manual_seed(seed)
    vae = networks.make_vae().to(memory_format=torch.channels_last)

    def loss_at(step: int, rng: np.random.Generator) -> torch.Tensor:
        x = data.tensor(rng.integers(0, len(data.scenes), batch))
        if step % 2:
            top, left = rng.integers(0, scenes.SIDE // 2 + 1, 2)
            x = x[:, :, top : top + 32, left : left + 32]
        latent = vae.encode(x).latent_dist
        y = vae.decode(latent.sample()).sample
        edges = _edges(y - x)
        kl = 0.5 * (latent.mean**2 + latent.var - 1 - latent.logvar).mean()
        loss: torch.Tensor = (y - x).abs().mean() + (y - x).square().mean() + 0.5 * edges + 1e-3 * kl
        return loss

    Loop("vae", work, {"vae": vae}, steps, 1.5e-3, seed).run(loss_at)
    with torch.no_grad():
        spread = _latents(vae, data, 512).std()
    vae.register_to_config(scaling_factor=round(1 / float(spread), 5))
    return vae


def train_unet(
    data: SceneSet, vae: AutoencoderKL, tokenizer: Any, work: Path, steps: int, seed: int, batch: int
) -> tuple[torch.nn.Module, torch.nn.Module]:
    """v-prediction MSE over stratified timesteps; 10 % empty captions; EMA 0.999.

    The text encoder is first taught to say the caption's attributes from every place behind the
    end mark (a minute), and keeps doing so with a small weight: the UNet then learns to draw what
    is already told apart, which takes a fraction of the steps.
    """
    torch.manual_seed(seed + 1)
    text = networks.make_text_encoder(tokenizer)
    heads = torch.nn.ModuleDict({name: torch.nn.Linear(networks.TEXT_WIDTH, len(v)) for name, v in ATTRIBUTES.items()})
    unet = networks.make_unet().to(memory_format=torch.channels_last)
    truth = {
        name: torch.tensor([values.index(getattr(scene, name)) for scene in data.scenes])
        for name, values in ATTRIBUTES.items()
    }

    def captions(picks: NDArray[np.int64], rng: np.random.Generator, empty: float) -> torch.Tensor:
        texts = ["" if rng.random() < empty else scenes.caption(data.scenes[i], rng) for i in picks]
        return networks.token_ids(tokenizer, texts)

    def tells(hidden: torch.Tensor, ids: torch.Tensor, picks: NDArray[np.int64]) -> torch.Tensor:
        end = (ids == tokenizer.eos_token_id).int().argmax(1)
        at = end + (torch.rand(len(end)) * (networks.MAX_TOKENS - end)).long()
        seen = hidden[torch.arange(len(end)), at]
        index = torch.from_numpy(picks)
        return torch.stack([functional.cross_entropy(head(seen), truth[k][index]) for k, head in heads.items()]).mean()

    def text_loss(step: int, rng: np.random.Generator) -> torch.Tensor:
        picks = rng.integers(0, len(data.scenes), 128)
        ids = captions(picks, rng, 0.0)
        return tells(text(ids)[0], ids, picks)

    Loop("text", work, {"text": text, "heads": heads}, max(1, min(300, steps // 4)), 1e-3, seed + 1).run(text_loss)

    latents = _latents(vae, data) * vae.config.scaling_factor
    alphas = networks.make_scheduler().alphas_cumprod

    def loss_at(step: int, rng: np.random.Generator) -> torch.Tensor:
        picks = rng.integers(0, len(data.scenes), batch)
        ids = captions(picks, rng, 0.1)
        x = latents[torch.from_numpy(picks)]
        t = ((torch.arange(batch) + torch.rand(batch)) / batch * 1000).long()
        a = alphas[t].sqrt()[:, None, None, None]
        s = (1 - alphas[t]).sqrt()[:, None, None, None]
        noise = torch.randn_like(x)
        noisy = (a * x + s * noise).to(memory_format=torch.channels_last)
        with autocast():
            hidden = text(ids)[0]
            v = unet(noisy, t, encoder_hidden_states=hidden, return_dict=False)[0]
        # Salimans & Ho 2022: v = alpha * noise - sigma * x
        loss: torch.Tensor = (v.float() - (a * noise - s * x)).square().mean()
        return loss + 0.02 * tells(hidden.float(), ids, picks)

    Loop("unet", work, {"unet": unet, "text": text, "heads": heads}, steps, 1.2e-3, seed + 2).run(loss_at)
    return unet, text


def export(out: Path, vae: AutoencoderKL, unet: torch.nn.Module, text: torch.nn.Module, tokenizer: Any) -> None:
    """Write the standard diffusers folder, weights in fp16 safetensors."""
    from diffusers import StableDiffusionPipeline

    pipe = StableDiffusionPipeline(
        vae=vae,
        text_encoder=text,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=networks.make_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.to(dtype=torch.float16)
    pipe.save_pretrained(str(out), safe_serialization=True)
    networks.make_tokenizer(out / "tokenizer")


def autocast() -> Any:
    """bfloat16 where the CPU has it; where it has not, that takes ten times as long as float32."""
    fast = torch.backends.cpu.get_cpu_capability() == "AVX512"
    return torch.autocast("cpu", torch.bfloat16, enabled=fast)


def _latents(vae: AutoencoderKL, data: SceneSet, most: int | None = None) -> torch.Tensor:
    """Latents of the first `most` pictures: (n, 4, 16, 16), unscaled."""
    count = min(most or len(data.scenes), len(data.scenes))
    with torch.no_grad():
        parts = [vae.encode(data.tensor(_slice(i, count))).latent_dist.mean for i in range(0, count, 64)]
    return torch.cat(parts)


def _slice(start: int, end: int) -> NDArray[np.int64]:
    return np.arange(start, min(start + 64, end))


def _edges(difference: torch.Tensor) -> torch.Tensor:
    across = (difference[..., 1:] - difference[..., :-1]).abs().mean()
    down = (difference[..., 1:, :] - difference[..., :-1, :]).abs().mean()
    return across + down


def main(arguments: list[str] | None = None) -> None:
    """Train what is not trained yet in --work, then write --out/demo."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--work", type=Path, default=Path(".train"), help="checkpoints; kept between runs")
    parser.add_argument("--out", type=Path, required=True, help="where the folder `demo` is written")
    parser.add_argument("--scenes", type=int, default=20_000)
    parser.add_argument("--vae-steps", type=int, default=2_200)
    parser.add_argument("--unet-steps", type=int, default=4_700)
    parser.add_argument("--batch", type=int, default=64, help="pictures a step of the UNet's; the VAE takes half")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    options.work.mkdir(parents=True, exist_ok=True)
    data = SceneSet(options.scenes, options.seed)
    tokenizer = networks.make_tokenizer(options.work / "tokenizer")
    vae = train_vae(data, options.work, options.vae_steps, options.seed, options.batch // 2)
    unet, text = train_unet(data, vae, tokenizer, options.work, options.unet_steps, options.seed, options.batch)
    export(options.out / "demo", vae, unet, text, tokenizer)


if __name__ == "__main__":
    main()
