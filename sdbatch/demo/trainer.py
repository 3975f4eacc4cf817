"""What the trainings of the demo family share: the base model, scenes and their latents, noise, checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from sdbatch.demo import family, networks, scenes
from sdbatch.demo.train import Loop, SceneSet

Loss = Callable[[int, np.random.Generator], torch.Tensor]
"""(step, that step's own draws) → the loss."""


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

    def loop(self, name: str, module: torch.nn.Module, loss: Loss, steps: int, rate: float) -> None:
        """Train a module; the averaged weights are in it afterwards."""
        Loop(name, self.work, {name: module}, steps, rate, self.seed + 10).run(loss)

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


def tensor(pictures: NDArray[np.uint8]) -> torch.Tensor:
    """(n, h, w, 3) uint8 → (n, 3, h, w) float32 in -1 to 1."""
    pixels = torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1
    return pixels.to(memory_format=torch.channels_last)
