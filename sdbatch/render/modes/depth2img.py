"""depth2img: img2img by a model that also sees the depth that is to be kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sdbatch.errors import ModelError
from sdbatch.render import depth, latents
from sdbatch.render.batch import Batch, Context, Made, Picture
from sdbatch.types import Row


@dataclass(frozen=True)
class Prepared:
    """A row's picture, (height, width, 3), and its depth, (h, w); larger is nearer."""

    picture: NDArray[np.uint8]
    depth: NDArray[np.float32]
    key: tuple[Any, ...]


def prepare(row: Row, context: Context) -> Prepared:
    """The picture at the row's size, and its depth: as given, else by the model's own estimator, once an input."""
    params = row.params
    width, height, fit = params["width"], params["height"], params["fit"]
    picture = context.picture(params["image"])
    key = (context.inputs.content(params["image"]), width, height, fit)
    if params["depth_image"] is not None:
        return Prepared(picture, context.inputs.depth(params["depth_image"], width, height, fit), key)
    pipe = context.pipe
    if pipe.depth_estimator is None:
        raise ModelError(f"model {params['model']!r} has no depth estimator; give depth_image")
    found = context.inputs.kept(
        (*key, "depth", params["model"]), lambda: depth.estimate(pipe.depth_estimator, pipe.feature_extractor, picture)
    )
    return Prepared(picture, found, key)


def draw(batch: Batch, prepared: Sequence[Prepared]) -> list[Picture]:
    """One pipeline call; at strength 1 from noise and depth alone, and where no step is left the VAE's round trip."""
    context = batch.context
    params, pipe = context.params, context.pipe
    width, height, strength = params["width"], params["height"], params["strength"]
    made = [context.encoded((*one.key, "latents"), one.picture) for one in batch.pad(prepared)]
    start = torch.cat([torch.zeros_like(mean) for mean, _ in made])
    if strength < 1:
        drawn = batch.noise(width, height)
        start = torch.cat([latents.sample(pipe, one, drawn[at : at + 1]) for at, one in enumerate(made)])
    if int(params["steps"] * strength) < 1:
        found: Made = latents.decode(pipe, start)
    else:
        pipe.first_noise, pipe.pure = batch.noise(width, height), strength == 1
        small = (width // pipe.vae_scale_factor, height // pipe.vae_scale_factor)
        seen = torch.cat([depth.condition(one.depth, *small) for one in batch.pad(prepared)])
        found = batch.call(image=start, depth_map=seen)
    beside = [{"depth": depth.sixteen(one.depth, width, height)} for one in prepared]
    return [Picture(pixels, more) for pixels, more in zip(batch.pictures(found), beside, strict=True)]
