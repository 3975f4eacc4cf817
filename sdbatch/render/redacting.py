"""Parts of pictures hidden without a model."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
METHODS = ("fill", "blur", "pixelate")
SQUARES = 6
"""Squares along the shorter side of what is pixelated: no more is left of it than so many colours."""
_SIGMAS = (256.0, 64.0, 16.0, 4.0)


def redacted(picture: Pixels, mask: NDArray[np.bool_], method: str) -> Pixels:
    """A picture with the masked part hidden; the rest is as it was, bit for bit.

    Args:
        picture: (height, width, 3).
        mask: (height, width); True is hidden.
        method: `fill` puts there what is around, so that nothing of the part is left; `blur` and `pixelate` keep a
            coarse trace of it.
    """
    if not mask.any():
        return picture
    if method == "fill":
        return filled(picture, mask)
    made = picture.copy()
    for left, top, right, bottom in boxes(mask):
        part = picture[top:bottom, left:right]
        made[top:bottom, left:right] = _blurred(part) if method == "blur" else _pixelated(part)
    return np.where(mask[..., None], made, picture)


def filled(picture: Pixels, mask: NDArray[np.bool_]) -> Pixels:
    """The masked part filled with the colours around it, smoothly; it follows from the other pixels alone.

    Each of several Gaussian averages of the known pixels, from the widest to the narrowest, counts as far as it reaches
    (normalized convolution: Knutsson and Westin, 1993). Where nothing is known, it is grey.
    """
    from scipy import ndimage

    known = (~mask).astype(np.float64)
    colours = np.where(mask[..., None], 0.0, picture.astype(np.float64))
    found = np.full(picture.shape, 127.5)
    if known.any():
        found[:] = colours.sum((0, 1)) / known.sum()
    for sigma in _SIGMAS:
        weight = ndimage.gaussian_filter(known, sigma, truncate=3.0)
        near = np.stack([ndimage.gaussian_filter(colours[..., at], sigma, truncate=3.0) for at in range(3)], -1)
        share = np.clip(weight * 4, 0, 1)[..., None]
        found = found * (1 - share) + share * near / np.maximum(weight, 1e-12)[..., None]
    return np.where(mask[..., None], np.rint(found).clip(0, 255).astype(np.uint8), picture)


def boxes(mask: NDArray[np.bool_]) -> list[tuple[int, int, int, int]]:
    """Left, top, right, bottom of each connected part of a mask."""
    from scipy import ndimage

    labelled, _ = ndimage.label(mask)
    return [(x.start, y.start, x.stop, y.stop) for y, x in ndimage.find_objects(labelled)]


def _blurred(part: Pixels) -> Pixels:
    from scipy import ndimage

    sigma = max(2.0, min(part.shape[:2]) / 6)
    made = [ndimage.gaussian_filter(part[..., at].astype(np.float64), sigma, mode="nearest") for at in range(3)]
    return np.rint(np.stack(made, -1)).astype(np.uint8)


def _pixelated(part: Pixels) -> Pixels:
    from PIL import Image

    high, wide = part.shape[:2]
    side = max(1, min(high, wide) // SQUARES)
    small = Image.fromarray(part).resize((max(1, wide // side), max(1, high // side)), Image.Resampling.BOX)
    return np.asarray(small.resize((wide, high), Image.Resampling.NEAREST))
