"""Teach the demo model handwritten digits: its VAE and UNet go on learning from the pictures they are given."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from sdbatch.demo import family, train
from sdbatch.demo.trainer import Trainer, tensor

BATCH = 32
PROMPT = "a handwritten {label}"


def teach(
    out: Path, work: Path, pictures: NDArray[np.uint8], labels: Sequence[str], steps: tuple[int, int], seed: int
) -> None:
    """Train on these pictures and no others, and write the model's folder; goes on where it was cut off.

    Args:
        work: where checkpoints lie.
        pictures: (n, 32, 32, 3).
        labels: n of them.
        steps: of the VAE, of the UNet with its text encoder.
    """
    if (out / "model_index.json").exists():
        return
    work.mkdir(parents=True, exist_ok=True)
    base = family.Base()
    for part in (base.vae, base.unet, base.text):
        part.requires_grad_(True)
    trainer = Trainer(base, work, 0, seed)

    def pixels(step: int, rng: np.random.Generator) -> torch.Tensor:
        x = tensor(pictures[rng.integers(0, len(pictures), BATCH)])
        latent = base.vae.encode(x).latent_dist
        y = base.vae.decode(latent.sample()).sample
        kl = 0.5 * (latent.mean**2 + latent.var - 1 - latent.logvar).mean()
        loss: torch.Tensor = (y - x).abs().mean() + (y - x).square().mean() + 1e-3 * kl
        return loss

    trainer.loop("vae", base.vae, pixels, steps[0], 5e-4)
    latents = trainer.encoded(pictures)

    def velocity(step: int, rng: np.random.Generator) -> torch.Tensor:
        picks = rng.integers(0, len(pictures), BATCH)
        texts = ["" if rng.random() < 0.1 else PROMPT.format(label=labels[pick]) for pick in picks]
        noisy, t, wanted = trainer.noised(latents[torch.from_numpy(picks)])
        hidden = base.text(train.networks.token_ids(base.tokenizer, texts))[0]
        found = base.unet(noisy, t, encoder_hidden_states=hidden, return_dict=False)[0]
        loss: torch.Tensor = (found - wanted).square().mean()
        return loss

    both = {"unet": base.unet, "text": base.text}
    train.Loop("unet", work, both, steps[1], 8e-4, seed).run(velocity)
    train.export(out, base.vae, base.unet, base.text, base.tokenizer)
