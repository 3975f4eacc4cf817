"""Depth maps as arrays. Larger is nearer, as MiDaS and DPT give it (inverse depth)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdbatch.errors import InputError
from sdbatch.sources import files
from sdbatch.sources.decode import PIXELS_MAX, levels
from sdbatch.sources.decode import size as picture_size

ARRAY = ".npy"


def read(path: Path) -> NDArray[np.float32]:
    """Read a depth map: a grey picture (8 or 16 bits; of a TIFF also 32), or a 2-D array in a .npy file.

    Returns:
        (h, w) float32, larger = nearer, in the file's own units: the pipeline scales it to -1..1.

    Raises:
        InputError: it is missing, broken, in colour, not two-dimensional, not finite, or the same everywhere.
    """
    given = _array(path) if path.suffix.lower() == ARRAY else levels(path)
    with np.errstate(over="ignore"):
        depth = given.astype(np.float32)
    if not np.isfinite(depth).all():
        raise InputError(f"{files.show(path)}: holds values that are not finite numbers")
    if depth.min() == depth.max():
        raise InputError(f"{files.show(path)}: is flat: one depth everywhere says nothing about the picture")
    return depth


def size(path: Path) -> tuple[int, int]:
    """Width and height of a depth map by its header alone.

    Raises:
        InputError: as `read`, as far as a header tells.
    """
    if path.suffix.lower() != ARRAY:
        return picture_size(path)
    height, width = _mapped(path).shape
    return width, height


def _array(path: Path) -> NDArray[Any]:
    try:
        return np.array(_mapped(path))
    except (OSError, MemoryError) as error:
        raise InputError(f"{files.show(path)}: cannot be read: {error}") from error


def _mapped(path: Path) -> NDArray[Any]:
    """Map a .npy file: its header is checked against the file's length, and nothing is copied yet."""
    with files.opened(path):
        pass
    try:
        found: Any = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # a broken header raises whatever its parser meets
        raise InputError(f"{files.show(path)}: is not a whole .npy array of numbers") from error
    if not isinstance(found, np.ndarray) or found.dtype.kind not in "buif":
        raise InputError(f"{files.show(path)}: is not a .npy array of numbers")
    if found.ndim != 2 or not found.size:
        raise InputError(f"{files.show(path)}: has the shape {found.shape}; a depth map has (height, width)")
    if found.size > PIXELS_MAX:
        raise InputError(f"{files.show(path)}: has more than {PIXELS_MAX // 10**6} million values")
    return found
