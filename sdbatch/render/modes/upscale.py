"""upscale: by the x4 diffusion upscaler, the x2 latent one, img2img in tiles, or Real-ESRGAN, by the model's kind."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from sdbatch.modes import upscale
from sdbatch.render import inputs, latents, noise, tiles
from sdbatch.render.batch import Batch, Context, Made, Picture
from sdbatch.sources import pictures
from sdbatch.types import Row

Pixels = NDArray[np.uint8]
STEP = 8
"""Sides are made up to a multiple of this by repeating the last pixels, and cut off again."""


def prepare(row: Row, context: Context) -> Pixels:
    """The input at its own size."""
    return context.inputs.original(row.params["image"])


def draw(batch: Batch, prepared: Sequence[Pixels]) -> list[Picture]:
    """As the kind of model does it."""
    pipe = batch.context.pipe
    if pipe is None:
        from sdbatch.render import realesrgan

        return [Picture(realesrgan.upscale(batch.context.params["model"], one)) for one in prepared]
    name = type(pipe).__name__
    if name == upscale.PIPELINES["sd-upscale"]:
        return _diffused(batch, prepared)
    if name == upscale.PIPELINES["sd-latent-upscale"]:
        return _latent(batch, prepared)
    return [Picture(_tiled(batch, at, one)) for at, one in enumerate(prepared)]


def _diffused(batch: Batch, prepared: Sequence[Pixels]) -> list[Picture]:
    """x4: denoised from noise beside the small picture, itself noised by `noise_level`."""
    context = batch.context
    level = context.params["noise_level"]
    small = torch.cat([inputs.tensor(_padded(one, STEP)) for one in batch.pad(prepared)])
    height, width = small.shape[2:]
    factor = context.pipe.vae_scale_factor
    first = batch.noise(width * factor, height * factor).to(context.pipe.unet.dtype)
    made = batch.call(
        image=small,
        latents=first,
        noise_level=upscale.NOISE_LEVEL if level is None else level,
        eta=context.params["eta"],
    )
    return _cut(batch, made, prepared, factor)


def _latent(batch: Batch, prepared: Sequence[Pixels]) -> list[Picture]:
    """x2 between latents."""
    context = batch.context
    pipe = context.pipe
    padded = [_padded(one, STEP) for one in batch.pad(prepared)]
    height, width = padded[0].shape[:2]
    drawn = batch.noise(width, height)
    made = [
        context.encoded((context.inputs.content(row.params["image"]), "padded"), one)
        for row, one in zip(batch.rows, padded, strict=True)
    ]
    small = torch.cat([latents.sample(pipe, one, drawn[at : at + 1]) for at, one in enumerate(made)])
    first = batch.noise(2 * width, 2 * height).to(pipe.unet.dtype)
    return _cut(batch, batch.call(image=small, latents=first), prepared, 2)


def _cut(batch: Batch, made: Made, prepared: Sequence[Pixels], factor: int) -> list[Picture]:
    sizes = [(one.shape[0] * factor, one.shape[1] * factor) for one in prepared]
    cut = [pixels[:high, :wide] for pixels, (high, wide) in zip(batch.pictures(made), sizes, strict=True)]
    return [Picture(np.ascontiguousarray(pixels)) for pixels in cut]


def _tiled(batch: Batch, at: int, picture: Pixels) -> Pixels:
    """img2img over a picture enlarged by Lanczos, tile by tile; tiles share their noise where they overlap."""
    context = batch.context
    params, pipe = context.params, context.pipe
    scale = params["scale"] or upscale.SCALE
    width, height = round(picture.shape[1] * scale), round(picture.shape[0] * scale)
    large = _padded(pictures.fit(picture, width, height, "resize"), STEP)
    tile = params["tile"] or max(large.shape[:2])
    side = (min(tile, large.shape[1]), min(tile, large.shape[0])) if params["tile"] is None else (tile, tile)
    large = _at_least(large, side)
    overlap = params["overlap"] if params["overlap"] is not None else min(side) // 4
    cut = tiles.tiling(large.shape[1], large.shape[0], side, overlap, STEP)
    factor = pipe.vae_scale_factor
    shape = (pipe.vae.config.latent_channels, large.shape[0] // factor, large.shape[1] // factor)
    draws = [batch.draws[at]]
    drawn, first = noise.draw(draws, shape), noise.draw(draws, shape)
    boxes = list(cut.boxes())
    each = noise.split(batch.draws[at], len(boxes))
    made: list[NDArray[np.float32]] = []
    for start in range(0, len(boxes), len(batch.rows)):
        here = range(start, min(start + len(batch.rows), len(boxes)))
        made += _some(batch, at, large, cut, [boxes[i] for i in here], drawn, first, [each[i] for i in here])
    return latents.pixels([cut.joined(made)[:height, :width]])[0]


def _some(
    batch: Batch,
    at: int,
    large: Pixels,
    cut: tiles.Tiling,
    boxes: Sequence[tuple[int, int]],
    drawn: torch.Tensor,
    first: torch.Tensor,
    draws: Sequence[torch.Generator],
) -> list[NDArray[np.float32]]:
    """Up to a batch of tiles, made up to the batch shape."""
    context = batch.context
    pipe, params = context.pipe, context.params
    more = len(batch.rows) - len(boxes)
    padded = [*boxes, *[boxes[-1]] * more]
    last = draws[-1].get_state()
    copies = [torch.Generator("cpu").set_state(last) for _ in range(more)]
    factor = pipe.vae_scale_factor

    def part(whole: torch.Tensor, top: int, left: int) -> torch.Tensor:
        rows = slice(top // factor, (top + cut.height) // factor)
        return whole[:, :, rows, left // factor : (left + cut.width) // factor]

    start = torch.cat(
        [
            latents.sample(
                pipe,
                latents.encode(pipe, large[top : top + cut.height, left : left + cut.width]),
                part(drawn, top, left),
            )
            for top, left in padded
        ]
    )
    if int(params["steps"] * params["strength"]) < 1:
        return list(latents.decode(pipe, start)[: len(boxes)])
    pipe.first_noise, pipe.pure = torch.cat([part(first, top, left) for top, left in padded]), params["strength"] == 1
    one = batch.repeated(at, [*draws, *copies])
    return list(one.call(image=start, strength=params["strength"], eta=params["eta"])[: len(boxes)])


def _padded(picture: Pixels, step: int) -> Pixels:
    """Sides made up to a multiple of `step` with the last row and column."""
    height, width = picture.shape[:2]
    return _at_least(picture, (-(-width // step) * step, -(-height // step) * step))


def _at_least(picture: Pixels, size: tuple[int, int]) -> Pixels:
    below, beside = max(0, size[1] - picture.shape[0]), max(0, size[0] - picture.shape[1])
    return np.pad(picture, ((0, below), (0, beside), (0, 0)), mode="edge")
