"""txt2img: from noise to a picture."""

from __future__ import annotations

from collections.abc import Sequence

from sdbatch.render.batch import Batch, Context, Picture
from sdbatch.types import Row


def prepare(row: Row, context: Context) -> None:
    """Nothing: a prompt and a seed are all there is."""


def draw(batch: Batch, prepared: Sequence[None]) -> list[Picture]:
    """One pipeline call."""
    params = batch.context.params
    noise = batch.noise(params["width"], params["height"])
    made = batch.call(latents=noise.to(batch.context.pipe.unet.dtype))
    return [Picture(pixels) for pixels in batch.pictures(made)]
