"""Train the judge's network on rendered scenes, softened the ways a VAE softens them.

    python -m sdbatch.demo.train_judge --out sdbatch/demo/weights

Takes one to three minutes on one core; the same seed on the same machine makes the same weights.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from sdbatch.demo import scenes
from sdbatch.demo.judge import HEADS, JudgeNet, look

BATCH = 96
RATE = 3e-3
SCENES = 6_000


def train(steps: int = 900, seed: int = 0, count: int = SCENES) -> JudgeNet:
    """Train on `count` scenes of all combinations, drawn from `seed`.

    Returns:
        The network in eval mode, its weights rounded to fp16 as they will be stored.
    """
    rng = np.random.default_rng([seed, 11])
    torch.manual_seed(seed)
    drawn = [scenes.sample(rng, held=None) for _ in range(count)]
    pictures = torch.from_numpy(np.stack([scenes.render(scene) for scene in drawn])).permute(0, 3, 1, 2).contiguous()
    truth = {k: torch.tensor([values.index(getattr(scene, k)) for scene in drawn]) for k, values in HEADS.items()}
    network = JudgeNet().train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps + 1, pct_start=0.15)
    for step in range(1, steps + 1):
        picks = torch.randint(0, count, (BATCH,))
        figure = look(soften(pictures[picks].float())).figure
        losses = [functional.cross_entropy(logits, truth[k][picks]) for k, logits in network(figure).items()]
        loss = torch.stack(losses).sum()
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
        if step % 100 == 0:
            print(f"judge {step}/{steps} loss {float(loss.detach()):.4f}", file=sys.stderr, flush=True)
    return network.half().float().eval()


def soften(pixels: torch.Tensor) -> torch.Tensor:
    """Spoil pictures at random, each by its own amounts; draws from torch's global generator.

    Args:
        pixels: (n, 3, 64, 64) float32, sRGB of 0 to 255.

    Returns:
        The same shape and range, as whole numbers.
    """
    n = len(pixels)
    pixels = _bend(pixels, 1.2)
    # Half the side and back is the loss of detail of a VAE of factor 4 that does its best.
    small = functional.avg_pool2d(pixels, 2)
    pixels = pixels.lerp(_resize(small), _up_to(n, 0.9))
    pixels = pixels.lerp(_blur(pixels), _up_to(n, 1.0))
    side = scenes.SIDE
    for cells, most in ((side // 8, 10.0), (side // 4, 14.0), (side // 2, 12.0), (side, 13.0)):
        # Errors of a VAE come in patches of several pixels rather than pixel by pixel.
        pixels = pixels + _up_to(n, most) * _resize(torch.randn(n, 3, cells, cells))
    pixels = pixels * (1 + 0.07 * (2 * torch.rand(n, 3, 1, 1) - 1)) + 10 * (torch.rand(n, 1, 1, 1) - 0.5)
    return pixels.round().clamp(0, 255)


def _up_to(n: int, most: float) -> torch.Tensor:
    """An amount for each picture, 0 to `most` and more often little: (n, 1, 1, 1)."""
    return most * torch.rand(n, 1, 1, 1).pow(1.5)


def _resize(pixels: torch.Tensor) -> torch.Tensor:
    return functional.interpolate(pixels, (scenes.SIDE, scenes.SIDE), mode="bilinear", align_corners=False)


def _blur(pixels: torch.Tensor) -> torch.Tensor:
    """Gaussian blur of sigma 1.2 pixels."""
    at = torch.arange(-3, 4, dtype=torch.float32)
    kernel = torch.softmax(-(at**2) / (2 * 1.2**2), 0)
    flat = functional.pad(pixels.flatten(0, 1)[:, None], (3, 3, 3, 3), mode="replicate")
    flat = functional.conv2d(flat, kernel.view(1, 1, 1, 7))
    return functional.conv2d(flat, kernel.view(1, 1, 7, 1)).view(pixels.shape)


def _bend(pixels: torch.Tensor, most: float) -> torch.Tensor:
    """Shift each picture's parts by a smooth random field of up to about `most` pixels."""
    n = len(pixels)
    field = _resize(torch.randn(n, 2, 5, 5)) * (_up_to(n, most) * 2 / scenes.SIDE)
    still = functional.affine_grid(torch.eye(2, 3).expand(n, -1, -1), list(pixels.shape), align_corners=False)
    grid = still + field.permute(0, 2, 3, 1)
    return functional.grid_sample(pixels, grid, padding_mode="border", align_corners=False)


def main(arguments: list[str] | None = None) -> None:
    """Train, and write --out/judge.safetensors."""
    from safetensors.torch import save_file

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, required=True, help="where judge.safetensors is written")
    parser.add_argument("--steps", type=int, default=900)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    network = train(options.steps, options.seed)
    state = {k: v.half() if v.is_floating_point() else v for k, v in network.state_dict().items()}
    options.out.mkdir(parents=True, exist_ok=True)
    part = options.out / "judge.part"
    save_file(state, str(part))
    os.replace(part, options.out / "judge.safetensors")


if __name__ == "__main__":
    main()
