"""What inpaint and outpaint share: a picture and a mask, through the inpainting pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sdbatch.render import inputs, latents
from sdbatch.render.batch import Batch

PLAIN_CHANNELS = 4


@dataclass(frozen=True)
class Masked:
    """A picture and what of it is to be repainted.

    Attributes:
        picture: (height, width, 3) uint8 at the batch's size.
        mask: (height, width); True is repainted.
        key: tells the picture from others.
    """

    picture: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    key: tuple[Any, ...]


def encoded(batch: Batch, masked: Sequence[Masked]) -> list[NDArray[np.uint8]]:
    """The pictures as the VAE gives them back; nothing is drawn for it."""
    context = batch.context
    pipe = context.pipe
    size = _latent_size(pipe, context.params["width"], context.params["height"])
    still = torch.zeros(1, pipe.vae.config.latent_channels, *size)
    made = [latents.sample(pipe, context.encoded(one.key, one.picture), still) for one in batch.pad(masked)]
    return batch.pictures(latents.decode(pipe, torch.cat(made)))


def repaint(batch: Batch, masked: Sequence[Masked]) -> list[NDArray[np.uint8]]:
    """The model's own pictures, nothing pasted yet: by a 9-channel inpainting model, or by a plain one.

    A plain model is held to the known part at each step (Avrahami et al. 2022, Blended Latent Diffusion).
    """
    context = batch.context
    params, pipe = context.params, context.pipe
    strength = context.arguments["strength"]
    width, height = params["width"], params["height"]
    everyone = batch.pad(masked)
    plain = pipe.unet.config.in_channels == PLAIN_CHANNELS
    blank = torch.zeros(len(everyone), pipe.vae.config.latent_channels, *_latent_size(pipe, width, height))
    start = blank
    if plain or strength < 1:
        drawn = batch.noise(width, height)
        made = [context.encoded(one.key, one.picture) for one in everyone]
        start = torch.cat([latents.sample(pipe, one, drawn[at : at + 1]) for at, one in enumerate(made)])
    if int(params["steps"] * strength) < 1:
        return batch.pictures(latents.decode(pipe, start))
    seen = blank
    if not plain:
        drawn = batch.noise(width, height)
        made = [latents.encode_tensor(pipe, _grey(one)) for one in everyone]
        seen = torch.cat([latents.sample(pipe, one, drawn[at : at + 1]) for at, one in enumerate(made)])
    pipe.first_noise = batch.noise(width, height)
    cells = torch.stack([_cells(one.mask, pipe.vae_scale_factor) for one in everyone])
    return batch.pictures(batch.call(image=start, mask_image=cells, masked_image_latents=seen))


def _latent_size(pipe: Any, width: int, height: int) -> tuple[int, int]:
    return height // pipe.vae_scale_factor, width // pipe.vae_scale_factor


def _grey(one: Masked) -> torch.Tensor:
    """The picture in -1 to 1 with its masked part at 0: (1, 3, height, width)."""
    known = torch.from_numpy(~one.mask)[None, None]
    return (inputs.tensor(one.picture) * 2 - 1) * known


def _cells(mask: NDArray[np.bool_], factor: int) -> torch.Tensor:
    """The mask grown to whole latent cells, (1, height, width) float32: a cell touched is a cell repainted.

    The pipeline looks at one pixel a cell, and so would leave what lies between out.
    """
    height, width = mask.shape
    cells = mask.reshape(height // factor, factor, width // factor, factor).any(axis=(1, 3))
    return torch.from_numpy(cells.repeat(factor, 0).repeat(factor, 1))[None].float()
