"""Putting repainted pixels back into the picture that they were cut from, so that all else stays bit for bit."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]


def paste(picture: Pixels, made: Pixels, mask: NDArray[np.bool_], feather: int = 0) -> Pixels:
    """`made` where the mask is, `picture` elsewhere.

    Args:
        picture, made: (height, width, 3).
        mask: (height, width); True is repainted.
        feather: pixels from the mask's edge inwards over which one fades into the other; never outwards.
    """
    if feather <= 0:
        return np.where(mask[..., None], made, picture)
    weight = np.clip(depth_inside(mask) / (feather + 1), 0, 1)[..., None]
    mixed = np.rint(picture + (made.astype(np.float32) - picture) * weight).astype(np.uint8)
    return np.where(mask[..., None], mixed, picture)


def depth_inside(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """How far each masked pixel lies from the nearest unmasked one, in pixels; a picture's border is no edge."""
    import cv2

    if mask.all():
        return np.full(mask.shape, np.float32(1 << 20))
    found = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return found.astype(np.float32)


def continued(canvas: Pixels, made: Pixels, known: NDArray[np.bool_], overlap: int) -> Pixels:
    """`made` where nothing is known, led up to what is: no step at the seam, and no known pixel changed.

    Where a model has redrawn the known part a little darker or redder, so is what it added. The difference
    at the nearest known pixel, smoothed along the seam, is added to the new pixels and fades out over
    `overlap` of them.

    Args:
        canvas: (height, width, 3), right where `known`.
        made: (height, width, 3), the model's picture of all of it.
        known: (height, width), a rectangle of True.
    """
    import cv2

    if overlap <= 0:
        return np.where(known[..., None], canvas, made)
    rows, columns = np.flatnonzero(known.any(1)), np.flatnonzero(known.any(0))
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    step: NDArray[np.float32] = canvas[top:bottom, left:right].astype(np.float32) - made[top:bottom, left:right]
    width = min(2 * overlap + 1, 2 * (min(step.shape[:2]) // 2) + 1)
    step = cv2.blur(step, (width, width), borderType=cv2.BORDER_REPLICATE).reshape(step.shape).astype(np.float32)
    height, across = known.shape
    spread = np.pad(step, ((top, height - bottom), (left, across - right), (0, 0)), mode="edge")
    fade = np.clip(1 - (depth_inside(~known)[..., None] - 1) / overlap, 0, 1)
    led = np.clip(np.rint(made + spread * fade), 0, 255).astype(np.uint8)
    return np.where(known[..., None], canvas, led)
