"""Colours as a file holds them → 8-bit sRGB, and whole numbers of 16 bits → 8."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

_SPACES = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK"}
_LEVELS = np.arange(256, dtype=np.uint8)[None]
# Colours that tell whether a profile is sRGB itself: 17 steps a channel.
_LATTICE = np.stack(np.meshgrid(*[np.linspace(0, 255, 17).round().astype(np.uint8)] * 3), -1).reshape(1, -1, 3)


def to_8_bits(levels: NDArray[np.uint16], most: int = 65535) -> NDArray[np.uint8]:
    """Whole numbers 0..`most` → 0..255, by rounding value * 255 / most (for 16 bits: value / 257).

    Args:
        levels: any shape; a value above `most` counts as `most`.
    """
    table = np.minimum(np.arange(65536, dtype=np.int64), most)
    eight: NDArray[np.uint8] = ((table * 255 + most // 2) // most).astype(np.uint8)
    return eight[levels]


def to_srgb(image: Image.Image, profile: bytes | None) -> NDArray[np.uint8]:
    """Pixels in sRGB.

    A valid profile of the image's own kind of colour is applied by LittleCMS, relative colorimetric with
    black point compensation. One that changes no value by more than 1 is sRGB itself and leaves every bit
    as it is. Without a valid profile grey is repeated and CMYK is (255 - C) * (255 - K) / 255 and so on.

    Args:
        image: mode L, RGB or CMYK.
        profile: an ICC profile, valid or not.

    Returns:
        (h, w, 3) uint8.
    """
    transform = _transform(profile, image.mode) if profile else None
    if transform is None:
        return np.asarray(image.convert("RGB"))
    if image.mode == "L":
        levels: NDArray[np.uint8] = _applied(Image.fromarray(_LEVELS), transform)[0]
        return np.asarray(levels[np.asarray(image)])
    return _applied(image, transform)


def _transform(profile: bytes, mode: str) -> Any:
    """A transform to sRGB; None where the profile cannot be used or changes nothing."""
    # LittleCMS' short cut for grey is off by up to 10 levels in the dark; there are 256 of them to go the long way.
    flags = ImageCms.Flags.BLACKPOINTCOMPENSATION
    if mode == "L":
        flags |= ImageCms.Flags.NOOPTIMIZE
    try:
        given = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if given.profile.xcolor_space.strip() != _SPACES[mode]:
            return None
        srgb = ImageCms.createProfile("sRGB")
        made = ImageCms.buildTransform(given, srgb, mode, "RGB", ImageCms.Intent.RELATIVE_COLORIMETRIC, flags)
        return None if mode != "CMYK" and _is_srgb(made, mode) else made
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None


def _is_srgb(transform: Any, mode: str) -> bool:
    probe = Image.fromarray(_LEVELS if mode == "L" else _LATTICE)
    off = _applied(probe, transform).astype(np.int16) - np.asarray(probe.convert("RGB"))
    return int(np.abs(off).max()) <= 1


def _applied(image: Image.Image, transform: Any) -> NDArray[np.uint8]:
    made = ImageCms.applyTransform(image, transform)
    assert made is not None  # it is, where the image is not changed in place
    return np.asarray(made)
