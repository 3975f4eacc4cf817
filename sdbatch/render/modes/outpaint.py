"""outpaint: a larger canvas, of which everything but the picture is inpainted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sdbatch.render.batch import Batch, Context, Picture
from sdbatch.render.inpainting import Masked, repaint
from sdbatch.render.pasting import continued
from sdbatch.types import Row

OVERLAP = 32
"""Most pixels of the default blend at a seam."""


@dataclass(frozen=True)
class Prepared:
    """A row's canvas.

    Attributes:
        masked: the canvas at the batch's size; the mask is all but the picture.
        size: width and height that are asked for; the rest, right and below, is cut off.
        overlap: pixels next to the seam over which the new is led up to the old.
    """

    masked: Masked
    size: tuple[int, int]
    overlap: int


def prepare(row: Row, context: Context) -> Prepared:
    """The picture in its place, its edges drawn out over the rest."""
    params = row.params
    picture = context.inputs.original(params["image"])
    added = params["outpaint"]
    left, top = int(added.get("left", 0)), int(added.get("top", 0))
    height, width = picture.shape[:2]
    below, beside = params["height"] - top - height, params["width"] - left - width
    canvas = np.pad(picture, ((top, below), (left, beside), (0, 0)), mode="edge")
    new = np.ones(canvas.shape[:2], bool)
    new[top : top + height, left : left + width] = False
    size = (left + width + int(added.get("right", 0)), top + height + int(added.get("bottom", 0)))
    smallest = min(value for value in added.values() if value)
    overlap = min(OVERLAP, smallest) if params["overlap"] is None else params["overlap"]
    key = (context.inputs.content(params["image"]), "canvas", left, top, canvas.shape[:2])
    return Prepared(Masked(canvas, new, key), size, overlap)


def draw(batch: Batch, prepared: Sequence[Prepared]) -> list[Picture]:
    """Repaint what is new, and lead it up to what was there."""
    made = repaint(batch, [one.masked for one in prepared])
    return [Picture(_joined(one, new)) for one, new in zip(prepared, made, strict=True)]


def _joined(one: Prepared, new: NDArray[np.uint8]) -> NDArray[np.uint8]:
    width, height = one.size
    joined = continued(one.masked.picture, new, ~one.masked.mask, one.overlap)
    return np.ascontiguousarray(joined[:height, :width])
