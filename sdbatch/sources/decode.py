"""A picture file → its colours, its alpha and its size, whatever it holds.

Which way up, how deep and how coloured a file may be, and what becomes of each, is said in docs/inputs.md.
"""

from __future__ import annotations

import os
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from sdbatch.errors import InputError
from sdbatch.sources import files
from sdbatch.sources.colours import to_8_bits, to_srgb

FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP")
"""Pillow's names of the formats that are read; others, some of which run programs, are never tried."""
PIXELS_MAX = 178_000_000
"""Most pixels of a picture: about where Pillow refuses."""

# Pillow warns of "decompression bombs" from half this size on, and of EXIF that is broken. Neither is news here:
# larger pictures are refused, such EXIF is ignored, and what is wrong with pixels becomes an InputError.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")

_ROWS = 1 << 20  # pixels of 16 bits that are put together at a time
_ORIENTATION = 0x0112
_BITS_PER_SAMPLE, _PHOTOMETRIC, _PLANAR = 258, 262, 284  # tags of a TIFF
_GREY = frozenset({"1", "L", "LA", "La"})
_DEEP = re.compile(r"(RGBA|RGBX|RGB|CMYK|LA);16([LBN])\Z")
_NATIVE = "L" if sys.byteorder == "little" else "B"


@dataclass(frozen=True)
class Decoded:
    """A picture as its file holds it, upright.

    Attributes:
        colours: (h, w, 3) uint8 in sRGB, as if opaque.
        alpha: (h, w) uint8, 255 = opaque; None where the file has no transparency.
    """

    colours: NDArray[np.uint8]
    alpha: NDArray[np.uint8] | None


def decode(path: Path) -> Decoded:
    """Read a picture; of an animation or a file of several pages the first.

    Raises:
        InputError: it is missing, no picture, broken, cut short, too large, or of a kind that is not read.
    """
    with _image(path) as (image, file):
        turn = _orientation(image, file)
        plain, alpha = _eight_bits(image, file, path)
        colours = to_srgb(plain, image.info.get("icc_profile"))
        return Decoded(_upright(colours, turn), None if alpha is None else _upright(alpha, turn))


def levels(path: Path) -> NDArray[Any]:
    """The levels of a grey picture, unscaled and upright; its alpha and its profile are not looked at.

    Returns:
        (h, w): uint8, uint16, or of a TIFF also int32 or float32.

    Raises:
        InputError: as `decode`; or it is in colour.
    """
    with _image(path) as (image, file):
        turn = _orientation(image, file)
        if image.mode.startswith("I;16") or image.mode in ("I", "F"):
            return _upright(_native(np.asarray(image)), turn)
        plain, _ = _eight_bits(image, file, path)
        channels = np.asarray(plain.convert("RGB"))
        if (channels != channels[..., :1]).any():
            raise InputError(f"{files.show(path)}: is in colour; a depth map is grey")
        return _upright(channels[..., 0], turn)


def size(path: Path) -> tuple[int, int]:
    """Width and height of a picture, upright, by its header alone.

    Raises:
        InputError: as `decode`, as far as a header tells.
    """
    with _image(path) as (image, file):
        width, height = image.size
        return (height, width) if _orientation(image, file) >= 5 else (width, height)


@contextmanager
def _image(path: Path) -> Iterator[tuple[Image.Image, BinaryIO]]:
    """Open a picture, of bounded size; whatever a decoder raises on a broken file becomes an InputError."""
    with files.opened(path) as file:
        try:
            with Image.open(file, formats=FORMATS) as image:
                if image.width * image.height > PIXELS_MAX:
                    raise Image.DecompressionBombError
                yield image, file
        except InputError:
            raise
        except Exception as error:  # a broken file raises whatever Pillow's parser of its kind meets
            raise InputError(f"{files.show(path)}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return (
            "is not a picture that can be read (PNG, JPEG, WebP, TIFF, GIF or BMP, of the usual kinds), "
            "or its header is broken"
        )
    if isinstance(error, Image.DecompressionBombError):
        return f"has more than {PIXELS_MAX // 10**6} million pixels"
    if isinstance(error, MemoryError):
        return "does not fit into memory"
    said = files.show(" ".join(str(error).split()))[:120] or type(error).__name__
    return (
        f"is cut short: {said}" if "truncated" in said.lower() or isinstance(error, EOFError) else f"is broken: {said}"
    )


def _eight_bits(image: Image.Image, file: BinaryIO, path: Path) -> tuple[Image.Image, NDArray[np.uint8] | None]:
    """Colours in 8 bits as mode L, RGB or CMYK, and alpha."""
    if image.mode.startswith("I;16"):
        return _grey_16(image)
    strange = _strange(image)
    if strange:
        raise InputError(f"{files.show(path)}: holds {strange}")
    tiles: Any = getattr(image, "tile", ())  # of pictures that come from files, not of all
    rawmodes = {_rawmode(tile) for tile in tiles}
    deep = _DEEP.match(rawmodes.pop()) if len(rawmodes) == 1 else None
    if deep:
        return _deep(image, file, deep[1], _NATIVE if deep[2] == "N" else deep[2])
    if image.has_transparency_data:
        whole = image.convert("RGBA")
        colours = whole.getchannel("R") if image.mode in _GREY else whole.convert("RGB")
        return colours, np.asarray(whole.getchannel("A"))
    if image.mode in ("L", "RGB", "CMYK"):
        image.load()
        return image, None
    return image.convert("L" if image.mode == "1" else "RGB"), None


def _strange(image: Image.Image) -> str | None:
    """Kinds of picture that are refused."""
    if image.mode == "I":
        return "whole numbers that are signed or of 32 bits, whose white is not known; save it as 8 or 16 bits"
    if image.mode == "F":
        return "floating-point numbers, whose white is not known; save it as 8 or 16 bits"
    if image.mode in ("LAB", "HSV"):
        return f"{image.mode} colours; save it as RGB"
    tags: Any = getattr(image, "tag_v2", {})
    if tags.get(_PLANAR) == 2 and max(tags.get(_BITS_PER_SAMPLE, (8,))) > 8:  # Pillow reads their bytes as 8 bits
        return "its channels of 16 bits one after another (planar); save them interleaved"
    return None


def _grey_16(image: Image.Image) -> tuple[Image.Image, NDArray[np.uint8] | None]:
    values = _native(np.asarray(image))
    tags: Any = getattr(image, "tag_v2", {})
    bits = tags.get(_BITS_PER_SAMPLE, (16,))[0]
    eight = to_8_bits(values, 2**bits - 1)
    if tags.get(_PHOTOMETRIC) == 0:  # white is zero
        eight = 255 - eight
    clear = image.info.get("transparency")
    alpha = None if not isinstance(clear, int) else np.where(values == clear, 0, 255).astype(np.uint8)
    return Image.fromarray(eight), alpha


def _native(values: NDArray[Any]) -> NDArray[Any]:
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def _deep(image: Image.Image, file: BinaryIO, kind: str, order: str) -> tuple[Image.Image, NDArray[np.uint8] | None]:
    """Several channels of 16 bits: Pillow keeps one byte of each, so the file is decoded once for either byte."""
    clear = image.info.get("transparency")
    if kind == "LA":  # two numbers of 16 bits are as long as four of 8
        both = np.asarray(_again(file, "RGBA")).reshape(image.height, image.width, 2, 2)
        high, low = both[..., 0], both[..., 1]
    else:
        high = np.asarray(_again(file, f"{kind};16{order}"))
        low = np.asarray(_again(file, f"{kind};16{'L' if order == 'B' else 'B'}"))
    eight = np.empty_like(high)
    alpha = np.full(high.shape[:2], 255, np.uint8) if isinstance(clear, tuple) else None
    step = max(1, _ROWS // high.shape[1])
    for top in range(0, len(high), step):
        rows = slice(top, top + step)
        values = high[rows].astype(np.uint16) << 8 | low[rows]
        eight[rows] = to_8_bits(values)
        if alpha is not None:
            alpha[rows][(values == clear).all(-1)] = 0
    if eight.shape[-1] == 2:
        return Image.fromarray(np.ascontiguousarray(eight[..., 0])), eight[..., 1]
    if kind == "RGBA":
        return Image.fromarray(np.ascontiguousarray(eight[..., :3])), eight[..., 3]
    return Image.fromarray(eight, "CMYK" if kind == "CMYK" else "RGB"), alpha


def _again(file: BinaryIO, rawmode: str) -> Image.Image:
    """Decode a file from its start with another reading of its samples."""
    file.seek(0)
    image = Image.open(file, formats=FORMATS)
    tiles: list[Any] = image.tile
    image.tile = [
        tile._replace(args=rawmode if isinstance(tile.args, str) else (rawmode, *tile.args[1:])) for tile in tiles
    ]
    image.load()
    return image


def _rawmode(tile: Any) -> str:
    args = tile.args
    return str(args[0]) if isinstance(args, tuple) and args else str(args)


def _orientation(image: Image.Image, file: BinaryIO) -> int:
    """EXIF's orientation, 1 to 8; 1 where it is not said or not readable. Pillow turns TIFF files itself."""
    if image.format == "TIFF":
        return 1
    try:
        if image.format == "PNG" and "exif" not in image.info:
            late = _exif_chunk(file)
            if late:
                image.info["exif"] = late
        # PNG's own getexif decodes the whole picture first, for a chunk that may stand behind it.
        turn = Image.Image.getexif(image).get(_ORIENTATION)
    except Exception:  # broken EXIF says nothing about the pixels
        return 1
    return turn if isinstance(turn, int) and 1 <= turn <= 8 else 1


def _exif_chunk(file: BinaryIO) -> bytes | None:
    """The eXIf chunk of a PNG, wherever it stands (PNG specification 1.5, chunk layout: length, type, data, CRC)."""
    here = file.tell()
    try:
        file.seek(8)
        while len(head := file.read(8)) == 8 and head[4:] != b"IEND":
            length = int.from_bytes(head[:4], "big")
            if head[4:] == b"eXIf":
                return file.read(min(length, 1 << 20))
            file.seek(length + 4, os.SEEK_CUR)
    finally:
        file.seek(here)
    return None


def _upright(pixels: NDArray[Any], turn: int) -> NDArray[Any]:
    """Turn and mirror as EXIF's orientation asks (CIPA DC-008, tag 274)."""
    if turn >= 5:
        pixels = pixels.swapaxes(0, 1)
    if turn in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if turn in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)
