"""img2img: an input's latents, noised by `strength`, and denoised after the prompt."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from sdbatch.render import latents
from sdbatch.render.batch import Batch, Context, Picture
from sdbatch.types import Row


def prepare(row: Row, context: Context) -> NDArray[np.uint8]:
    """The input at the row's size."""
    return context.picture(row.params["image"])


def draw(batch: Batch, prepared: Sequence[NDArray[np.uint8]]) -> list[Picture]:
    """One pipeline call; at strength 1 from noise alone, and where no step is left the VAE's own round trip."""
    context = batch.context
    params, pipe = context.params, context.pipe
    start = _latents(batch, prepared)
    if int(params["steps"] * params["strength"]) < 1:
        return [Picture(pixels) for pixels in batch.pictures(latents.decode(pipe, start))]
    pipe.first_noise, pipe.pure = batch.noise(params["width"], params["height"]), params["strength"] == 1
    made = batch.call(image=start)
    return [Picture(pixels) for pixels in batch.pictures(made)]


def _latents(batch: Batch, prepared: Sequence[NDArray[np.uint8]]) -> torch.Tensor:
    """Latents of the inputs, (len(rows), channels, h, w); zeros, and nothing drawn, where strength 1 ignores them."""
    context = batch.context
    params = context.params
    width, height = params["width"], params["height"]
    keys = [(context.inputs.content(row.params["image"]), width, height, params["fit"]) for row in batch.rows]
    made = [context.encoded((*key, "latents"), one) for key, one in zip(keys, batch.pad(prepared), strict=True)]
    if params["strength"] == 1:
        return torch.cat([torch.zeros_like(mean) for mean, _ in made])
    drawn = batch.noise(width, height)
    return torch.cat([latents.sample(context.pipe, one, drawn[at : at + 1]) for at, one in enumerate(made)])
