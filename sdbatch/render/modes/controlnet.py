"""controlnet: txt2img that follows control pictures, each through a ControlNet of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sdbatch.modes import controlnet
from sdbatch.render import depth, inputs
from sdbatch.render.batch import Batch, Context, Picture
from sdbatch.sources import edges
from sdbatch.sources.names import ESTIMATOR
from sdbatch.types import Row

Pixels = NDArray[np.uint8]


def prepare(row: Row, context: Context) -> list[Pixels]:
    """The control pictures at the row's size, one a ControlNet, preprocessed."""
    names = controlnet.listed(row.params, "control_image")
    how = controlnet.listed(row.params, "control_preprocessor")
    return [_control(context, name, method) for name, method in zip(names, how, strict=True)]


def draw(batch: Batch, prepared: Sequence[list[Pixels]]) -> list[Picture]:
    """One pipeline call."""
    params = batch.context.params
    noise = batch.noise(params["width"], params["height"])
    everyone = batch.pad(prepared)
    seen = [torch.cat([inputs.tensor(one[net]) for one in everyone]) for net in range(len(everyone[0]))]
    made = batch.call(image=seen if len(seen) > 1 else seen[0], latents=noise.to(batch.context.pipe.unet.dtype))
    beside = [{"control" if not at else f"control{at + 1}": one for at, one in enumerate(row)} for row in prepared]
    return [Picture(pixels, more) for pixels, more in zip(batch.pictures(made), beside, strict=True)]


def _control(context: Context, name: str, method: Any) -> Pixels:
    """A control picture, computed once an input and method."""
    params = context.params
    width, height = params["width"], params["height"]
    kind, setting = next(iter(method.items())) if isinstance(method, dict) else (method, None)
    picture = context.picture(name)
    if kind == "none":
        return picture
    key = (context.inputs.content(name), width, height, params["fit"], kind, str(setting))
    if kind == "canny":
        found: Pixels = context.inputs.kept(key, lambda: edges.canny(picture, *(setting or ())))
        return found
    model = context.sources.models.resolve(setting or ESTIMATOR)
    estimator, extractor = (context.models.part(model, part) for part in ("depth_estimator", "feature_extractor"))
    found = context.inputs.kept(key, lambda: depth.grey(depth.estimate(estimator, extractor, picture), width, height))
    return found
