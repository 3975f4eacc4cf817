"""score: what numbers say of a picture, by themselves and by the models that are named."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdbatch.render import judging
from sdbatch.render.batch import Batch, Context, Picture
from sdbatch.sources import pictures
from sdbatch.types import Row

Pixels = NDArray[np.uint8]


def prepare(row: Row, context: Context) -> Pixels:
    """The picture at its own size."""
    return context.inputs.original(row.params["image"])


def draw(batch: Batch, prepared: Sequence[Pixels]) -> list[Picture]:
    """The pictures as they are, each with its scores."""
    found = []
    for row, pixels in zip(batch.rows, prepared, strict=False):  # a batch is filled up with copies of its last row
        models = judging.judged(batch.context, row, pixels)
        plain = scores(pixels)
        main = models.get("aesthetic", models.get("clip", plain["score"]))
        found.append(Picture(pixels, scores={**plain, **models, "score": main}))
    return found


def scores(pixels: Pixels) -> dict[str, Any]:
    """What can be told without a model, of (height, width, 3) uint8.

    Returns:
        `sharpness`: the variance of the Laplacian (Pech-Pacheco et al., 2000) over its four neighbours, of luma in 0 to
        255; `contrast`: the standard deviation of luma in 0 to 1 (RMS contrast: Peli, 1990); `brightness`: its mean;
        `phash`: the perceptual hash by the discrete cosine transform (imagehash), 64 bits in hexadecimal digits; and
        `score`, which is the sharpness.
    """
    luma = pixels.astype(np.float64) @ (0.299, 0.587, 0.114)  # Rec. 601
    padded = np.pad(luma, 1, mode="edge")
    around = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]
    sharpness = round(float((around - 4 * luma).var()), 4)
    return {
        "score": sharpness,
        "sharpness": sharpness,
        "contrast": round(float(luma.std()) / 255, 6),
        "brightness": round(float(luma.mean()) / 255, 6),
        "phash": pictures.perceptual_hash(pixels),
    }
