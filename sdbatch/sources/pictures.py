"""Input pictures as arrays: read as RGB, read as alpha, and brought to a size."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sdbatch.errors import InputError
from sdbatch.sources.decode import decode

Resample = Literal["lanczos", "nearest"]
_FILTERS = {"lanczos": Image.Resampling.LANCZOS, "nearest": Image.Resampling.NEAREST}
_T = TypeVar("_T", np.uint8, np.float32)


def read(path: Path) -> NDArray[np.uint8]:
    """Read a picture as 8-bit sRGB, upright, over white where it is transparent (see docs/inputs.md).

    Returns:
        (h, w, 3) uint8.

    Raises:
        InputError: it is missing, no picture, broken, cut short, too large, or of a kind that is not read.
    """
    found = decode(path)
    return found.colours if found.alpha is None else over(found.colours, found.alpha, 255)


def read_alpha(path: Path) -> NDArray[np.uint8] | None:
    """A picture's own opacity, upright: 255 is opaque; None where the file has no transparency.

    Returns:
        (h, w) uint8.

    Raises:
        InputError: as `read`.
    """
    return decode(path).alpha


def over(colours: NDArray[np.uint8], alpha: NDArray[np.uint8], ground: int) -> NDArray[np.uint8]:
    """Colours laid over one level: (c * a + ground * (255 - a)) / 255, rounded.

    Args:
        colours: (h, w) or (h, w, 3).
        alpha: (h, w).
        ground: 0..255.
    """
    share = alpha if colours.ndim == 2 else alpha[..., None]
    mixed = colours.astype(np.uint16)  # 255 * 255 + 127 still fits
    mixed *= share
    mixed += (255 - share).astype(np.uint16) * np.uint16(ground) + np.uint16(127)
    mixed //= 255
    return mixed.astype(np.uint8)


def fit(picture: NDArray[_T], width: int, height: int, how: str, resample: Resample = "lanczos") -> NDArray[_T]:
    """Bring a picture to a size. One that has the size comes back bit for bit.

    Args:
        picture: (h, w) or (h, w, 3), uint8 or float32.
        how: `resize` stretches; `crop` scales until the size is covered and cuts the centre out; `pad` scales
            until the picture fits, centres it and repeats its edge pixels outwards; `native` scales nothing
            and cuts the centre out.
        resample: Pillow's Lanczos (a = 3, widened when shrinking), or nearest, which makes no new values.

    Returns:
        (height, width) or (height, width, 3) of the same dtype; may be `picture` itself.

    Raises:
        InputError: `native`, and the picture is smaller than the size.
    """
    high, wide = picture.shape[:2]
    if (wide, high) == (width, height):
        return picture
    if how == "native":
        return _centre(picture, width, height)
    if how == "crop":
        scale = max(width / wide, height / high)
        cut = width / scale, height / scale
        left, top = (wide - cut[0]) / 2, (high - cut[1]) / 2
        box = max(left, 0.0), max(top, 0.0), min(left + cut[0], wide), min(top + cut[1], high)
        return _resized(picture, width, height, resample, box)
    if how == "pad":
        scale = min(width / wide, height / high)
        inner = max(1, min(width, round(wide * scale))), max(1, min(height, round(high * scale)))
        small = picture if inner == (wide, high) else _resized(picture, *inner, resample)
        left, top = (width - inner[0]) // 2, (height - inner[1]) // 2
        sides = [(top, height - inner[1] - top), (left, width - inner[0] - left), (0, 0)]
        return np.pad(small, sides[: picture.ndim], mode="edge")
    if how == "resize":
        return _resized(picture, width, height, resample)
    raise ValueError(f"fit {how!r} is not resize, crop, pad or native")


def _centre(picture: NDArray[_T], width: int, height: int) -> NDArray[_T]:
    high, wide = picture.shape[:2]
    if wide < width or high < height:
        raise InputError(f"a picture of {wide} x {high} cannot be cut to {width} x {height} (fit: native)")
    left, top = (wide - width) // 2, (high - height) // 2
    return np.ascontiguousarray(picture[top : top + height, left : left + width])


def _resized(
    picture: NDArray[_T],
    width: int,
    height: int,
    resample: Resample,
    box: tuple[float, float, float, float] | None = None,
) -> NDArray[_T]:
    """Resample by Pillow, one channel at a time where it has no mode for the type."""
    if picture.ndim == 3 and picture.dtype != np.uint8:
        channels = [_resized(picture[..., at], width, height, resample, box) for at in range(picture.shape[2])]
        return np.stack(channels, -1)
    image = Image.fromarray(np.ascontiguousarray(picture))
    made: NDArray[_T] = np.asarray(image.resize((width, height), _FILTERS[resample], box))
    return made


def perceptual_hash(pixels: NDArray[np.uint8]) -> str:
    """The perceptual hash of (height, width, 3) by the cosine transform (imagehash): 64 bits, in hexadecimal digits."""
    import imagehash  # a tenth of a second, seldom of use

    return str(imagehash.phash(Image.fromarray(pixels), 8))
