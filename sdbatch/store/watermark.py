"""A text hidden in a picture's colours, which survives JPEG, WebP and PNG but neither a crop nor a resize.

The scheme is the `dwtDctSvd` of the package invisible-watermark, and each reads what the other wrote:

    U = 0.492 (B - Y) + 128 of the picture, its Haar approximation (one level), cut in blocks of 4 x 4.
    A block's largest singular value s says one bit: whether s mod 36 is above 18.

The blocks, row by row, hold the text's UTF-8 bits over and over, the highest bit of a byte first; a
reader who knows the length takes the majority. The scheme's name has a cosine transform of each block
in it; that is a rotation, which leaves singular values as they are, and is left out here.
"""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sdbatch.errors import RowError

SIDE_MIN = 256
"""Pixels; the other package takes no smaller picture either."""
REPEATS_MIN = 3
"""Each bit stands in at least so many blocks."""

_BLOCK = 8  # pixels: a block of 4 in the Haar approximation
_SCALE = 36.0  # of the singular value; the other package's default
_SAFE = 2.5  # of 9, the most that a singular value can be away from saying the other bit
_JITTER, _PUSH = 4.0, 6.0  # how far to the side of the middle blocks aim, and are pushed
_GOLDEN = 0.618034  # multiples of it, less their whole part, are spread evenly
_QUALITY = 75  # of JPEG
# Ordered dither (Bayer, 1973): rounding that keeps the mean of a block, and of each 2 x 2 of it.
_BAYER: Plane = np.zeros((1, 1), np.float32)
for _ in range(3):
    _BAYER = np.block([[4 * _BAYER, 4 * _BAYER + 2], [4 * _BAYER + 3, 4 * _BAYER + 1]]).astype(np.float32)
_BAYER = ((_BAYER + 0.5) / 64).astype(np.float32)
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # of R, G, B (ITU-R BT.601)
_BLUE = 0.492  # U per B - Y, as OpenCV has it
_TO_U = _BLUE * (np.array([0, 0, 1], np.float32) - _LUMA)
# What adds one to U and nothing to Y and V.
_FROM_U = np.array([0, -_LUMA[2] / _LUMA[1], 1], np.float32) / _BLUE

Plane = NDArray[np.float32]


def problem(text: str, width: int, height: int) -> str | None:
    """Say why a picture of this size cannot hold a text; None where it can."""
    if min(width, height) < SIDE_MIN:
        return f"{width} x {height} is too small for a watermark; it needs {SIDE_MIN} pixels a side"
    length, most = len(_bytes(text)), (width // _BLOCK) * (height // _BLOCK) // (8 * REPEATS_MIN)
    if length > most:
        return f"the watermark is {length} bytes long; {width} x {height} pixels hold {most}"
    return None


def embed(pixels: NDArray[np.uint8], text: str) -> NDArray[np.uint8]:
    """A copy of a picture with a text in it.

    A colour at the end of its range that would have to go beyond it makes the pixel darker or lighter
    instead. Plain areas lose bits to rounding and to JPEG, all of them alike; so blocks aim at slightly
    different values, those left in doubt by JPEG at quality 75 try others, and those that its halved
    colour planes blur into their neighbours are pushed the other way.

    Args:
        pixels: (h, w, 3) uint8 RGB.

    Raises:
        RowError: the picture is too small for the text.
    """
    wrong = problem(text, pixels.shape[1], pixels.shape[0])
    if wrong:
        raise RowError(wrong)
    blocks = _cut(pixels)
    wanted = np.resize(_bits(text), len(blocks)).astype(np.float32)
    left, values, right = np.linalg.svd(_approximation(blocks))
    value, outer = values[:, 0], left[:, :, :1] * right[:, :1, :]
    middle = _SCALE * (0.25 + 0.5 * wanted)  # as far from a flip as can be
    near = np.rint((value - middle) / _SCALE) * _SCALE + middle
    far = near + np.where(value > near, _SCALE, -_SCALE)
    made, margin = blocks.copy(), np.full(len(blocks), -np.inf, np.float32)
    for aim, dither in _attempts(near, far):
        at = np.flatnonzero(margin < _SAFE)
        if not len(at):
            break
        tried = _shifted(blocks[at], outer[at] * (aim - value)[at, None, None], dither)
        got = _least_margin(tried, wanted[at])
        better = got > margin[at]
        made[at[better]], margin[at[better]] = tried[better], got[better]
    return _joined(_against_blur(made, pixels, wanted), pixels)


def decode(pixels: NDArray[np.uint8], length: int) -> str:
    """Read a text from a picture; some text comes out of any picture.

    Args:
        pixels: (h, w, 3) uint8 RGB, neither cropped nor resized since the text was put in.
        length: of the text, in UTF-8 bytes. What is not UTF-8 becomes U+FFFD.

    Raises:
        ValueError: the picture has fewer blocks than the text has bits, or the length is not positive.
    """
    return np.packbits(_read(pixels, 8 * length)).tobytes().decode("utf-8", "replace")


def share(pixels: NDArray[np.uint8], text: str) -> float:
    """The share of a text's bits, 0 to 1, that a picture gives; about a half where it is not in it."""
    bits = _bits(text)
    return float(np.mean(_read(pixels, len(bits)) == bits))


def share_in_file(data: bytes, text: str) -> float:
    """The share of a text's bits, 0 to 1, that a picture file gives."""
    with Image.open(io.BytesIO(data)) as image:
        return share(np.asarray(image.convert("RGB")), text)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "replace")


def _bits(text: str) -> NDArray[np.uint8]:
    return np.unpackbits(np.frombuffer(_bytes(text), np.uint8))


def _read(pixels: NDArray[np.uint8], length: int) -> NDArray[np.uint8]:
    """The majority of each bit's blocks: (length,) of 0 and 1."""
    values = _largest(_cut(pixels))
    if not 0 < length <= len(values):
        raise ValueError(f"{length} bits do not fit in {len(values)} blocks")
    at = np.arange(len(values)) % length
    ones = np.bincount(at, values % _SCALE > _SCALE / 2, length)
    return (2 * ones >= np.bincount(at, minlength=length)).astype(np.uint8)


def _attempts(near: Plane, far: Plane) -> list[tuple[Plane, Plane]]:
    """What to aim blocks' singular values at, and how to round colours, the best first."""
    jitter = _JITTER * ((np.arange(len(near)) * _GOLDEN) % 1 - 0.5).astype(np.float32)
    plain = np.full_like(_BAYER, 0.5)
    return [
        (near + jitter, _BAYER), (near - jitter, _BAYER), (near, plain),
        (near + _JITTER, _BAYER), (near - _JITTER, _BAYER), (far, _BAYER), (far, plain),
    ]  # fmt: skip


def _against_blur(blocks: NDArray[np.uint8], pixels: NDArray[np.uint8], wanted: Plane) -> NDArray[np.uint8]:
    """Blocks changed against what JPEG with halved colour planes does to them, where it puts their bits in doubt."""
    seen = _largest(_cut(_through_jpeg(_joined(blocks, pixels), halved=True)))
    at = np.flatnonzero(_margin_of(seen, wanted) < _SAFE)
    if not len(at):
        return blocks
    left, values, right = np.linalg.svd(_approximation(blocks[at]))
    middle = _SCALE * (0.25 + 0.5 * wanted[at])
    aim = np.rint((values[:, 0] - middle) / _SCALE) * _SCALE + middle
    push = np.clip(0.6 * (aim - seen[at]), -_PUSH, _PUSH)
    tried = _shifted(blocks[at], left[:, :, :1] * right[:, :1, :] * push[:, None, None], _BAYER)
    good = _least_margin(tried, wanted[at]) > 1
    made = blocks.copy()
    made[at[good]] = tried[good]
    return made


def _cut(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A picture's whole blocks, row by row: (n, 8, 8, 3)."""
    rows, columns = pixels.shape[0] // _BLOCK, pixels.shape[1] // _BLOCK
    inside = pixels[: rows * _BLOCK, : columns * _BLOCK].reshape(rows, _BLOCK, columns, _BLOCK, 3)
    return inside.swapaxes(1, 2).reshape(-1, _BLOCK, _BLOCK, 3)


def _joined(blocks: NDArray[np.uint8], pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The picture that blocks were cut from, with these in their place."""
    rows, columns = pixels.shape[0] // _BLOCK, pixels.shape[1] // _BLOCK
    made = pixels.copy()
    inside = blocks.reshape(rows, columns, _BLOCK, _BLOCK, 3).swapaxes(1, 2)
    made[: rows * _BLOCK, : columns * _BLOCK] = inside.reshape(rows * _BLOCK, columns * _BLOCK, 3)
    return made


def _approximation(blocks: NDArray[np.uint8]) -> Plane:
    """The Haar approximation of each block's U plane, in whole numbers as readers have it: (n, 4, 4)."""
    plane = np.rint(blocks.astype(np.float32) @ _TO_U) + 128
    return plane.reshape(-1, 4, 2, 4, 2).sum(axis=(2, 4)) / 2


def _largest(blocks: NDArray[np.uint8]) -> Plane:
    """The largest singular value of each block: (n,)."""
    return np.linalg.svd(_approximation(blocks), compute_uv=False)[:, 0]


def _shifted(blocks: NDArray[np.uint8], change: Plane, dither: Plane) -> NDArray[np.uint8]:
    """Blocks with (n, 4, 4) added to the approximation of their U plane, and nothing to V.

    Args:
        dither: (8, 8) from 0 to 1: what is added before a colour is rounded down.
    """
    plane = np.repeat(np.repeat(change / 2, 2, axis=1), 2, axis=2)
    made = blocks + plane[..., None] * _FROM_U
    # Grey has neither U nor V: what is out of range comes back by adding some.
    made -= np.maximum(made.max(axis=-1, keepdims=True) - 255, 0)
    made -= np.minimum(made.min(axis=-1, keepdims=True), 0)
    return np.clip(np.floor(made + dither[..., None]), 0, 255).astype(np.uint8)


def _margin_of(values: Plane, wanted: Plane) -> Plane:
    """How far singular values are from saying the other bit, at most 9; negative where they do."""
    place = (values - _SCALE / 2 * wanted) % _SCALE
    return (_SCALE / 4 - np.abs(place - _SCALE / 4)).astype(np.float32)


def _least_margin(blocks: NDArray[np.uint8], wanted: Plane) -> Plane:
    """The margin of each block, as it is or after JPEG, whichever is less; JPEG codes each block by itself."""
    columns = 64
    rows = -(-len(blocks) // columns)
    sheet = np.resize(blocks, (rows * columns, *blocks.shape[1:]))
    coded = _cut(_through_jpeg(_joined(sheet, np.empty((rows * _BLOCK, columns * _BLOCK, 3), np.uint8))))
    margins = [_margin_of(_largest(seen), wanted) for seen in (blocks, coded[: len(blocks)])]
    return np.minimum(*margins)


def _through_jpeg(pixels: NDArray[np.uint8], halved: bool = False) -> NDArray[np.uint8]:
    """A picture as JPEG gives it back, with whole or halved colour planes."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=_QUALITY, subsampling=2 if halved else 0)
    with Image.open(buffer) as image:
        return np.asarray(image)
