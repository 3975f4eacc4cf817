"""Pictures stand upright, as their EXIF asks, in every format and by the header alone."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from sdbatch.sources import decode
from sdbatch.sources.pictures import read, read_alpha

H, W = 11, 16
_RNG = np.random.default_rng(3)
RGBA = _RNG.integers(0, 256, (H, W, 4)).astype(np.uint8)
RGB = np.ascontiguousarray(RGBA[..., :3])
DEEP = _RNG.integers(0, 65536, (H, W, 3)).astype(np.uint16)
EIGHT = np.round(DEEP / 257).astype(np.uint8)

Put = Any


def rows(pixels: NDArray[Any]) -> list[bytes]:
    return [row.astype(">u2").tobytes() for row in pixels]


def turned(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """By the words of CIPA DC-008: where row 0 and column 0 of the file lie in the upright picture."""
    changes: list[Callable[[NDArray[Any]], NDArray[Any]]] = [
        lambda p: p,  # 1: top, left
        np.fliplr,  # 2: top, right
        lambda p: np.rot90(p, 2),  # 3: bottom, right
        np.flipud,  # 4: bottom, left
        lambda p: p.swapaxes(0, 1),  # 5: left, top
        lambda p: np.rot90(p, -1),  # 6: right, top
        lambda p: np.rot90(p, 2).swapaxes(0, 1),  # 7: right, bottom
        np.rot90,  # 8: left, bottom
    ]
    return changes[orientation - 1](pixels)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "JPEG"])
def test_pictures_stand_upright(kind: str, orientation: int, put: Put) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}}.get(kind, {})
    want = turned(RGB, orientation)
    path = put(Image.fromarray(RGB), kind, exif=exif, **options)
    assert np.abs(read(path).astype(int) - want).max() <= (6 if kind == "JPEG" else 0)
    assert decode.size(path) == (want.shape[1], want.shape[0])
    if kind != "JPEG":
        path = put(Image.fromarray(RGBA), kind, exif=exif, **options)
        assert np.array_equal(np.asarray(read_alpha(path)), turned(RGBA[..., 3], orientation))


def test_orientation_behind_the_pixels_of_a_png_and_of_16_bits(put: Put, png: Any, tiff: Any) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = exif.tobytes().removeprefix(b"Exif\0\0")
    want = np.rot90(EIGHT, -1)
    path = put(png(2, 16, rows(DEEP), W, after=((b"tEXt", b"a\0b"), (b"eXIf", data))))
    assert np.array_equal(read(path), want) and decode.size(path) == (H, W)
    path = put(tiff(DEEP, t274=6))
    assert np.array_equal(read(path), want) and decode.size(path) == (H, W)


@pytest.mark.parametrize(
    "data", [b"", b"II*\0", b"MM\0*\xff\xff\xff\xff", b"Exif\0\0II*\0\x08\0\0\0\x05\0" + b"\xff" * 30, b"x" * 9]
)
@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_broken_exif_is_ignored(data: bytes, put: Put, png: Any) -> None:
    image = [row.tobytes() for row in RGB]
    for place in ("before", "after"):
        path = put(png(2, 8, image, W, **{place: ((b"eXIf", data),)}))
        assert np.array_equal(read(path), RGB) and decode.size(path) == (W, H)
    buffer = io.BytesIO()
    Image.fromarray(RGB).save(buffer, "JPEG", exif=b"Exif\0\0" + data.removeprefix(b"Exif\0\0"))
    assert read(put(buffer.getvalue())).shape == RGB.shape


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_is_none_is_ignored(orientation: int, put: Put) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert np.array_equal(read(put(Image.fromarray(RGB), exif=exif)), RGB)
