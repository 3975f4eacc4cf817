"""PNG files: what Pillow, OpenCV and a reader of our own make of them, and how large they are beside Pillow's."""

from __future__ import annotations

import io
import shutil
import struct
import subprocess
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from PIL import Image

from sdbatch.demo import scenes
from sdbatch.store import images, png

KINDS = [(np.uint8, (3,)), (np.uint8, ()), (np.uint16, ())]
Pixels = NDArray[Any]


def noise(height: int, width: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def photograph(side: int, seed: int, grain: float) -> Pixels:
    """Structure at every scale, as in nature, and grain, as from a camera."""
    rng = np.random.default_rng(seed)
    found = np.zeros((side, side, 3), np.float32)
    for step in range(2, int(np.log2(side)) + 1):
        coarse = rng.normal(0, 90 / 1.6**step, (2**step, 2**step, 3)).astype(np.float32)
        found += cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
    found += rng.normal(0, grain, found.shape)
    return np.clip(np.rint(found + 128), 0, 255).astype(np.uint8)


def chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """The chunks of a PNG file, each with the right CRC, to its very end."""
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    found, at = [], 8
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        kind, content = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        assert struct.unpack_from(">I", data, at + 8 + length) == (zlib.crc32(kind + content),)
        found.append((kind, content))
        at += 12 + length
    assert at == len(data)
    return found


def by_pillow(data: bytes) -> Pixels:
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        return np.asarray(image)


def by_opencv(data: bytes) -> Pixels:
    found = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert found is not None
    return found[..., ::-1] if found.ndim == 3 else found


def of_pillow(pixels: Pixels) -> bytes:
    """Pillow's file, at its defaults."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@st.composite
def pictures(draw: st.DrawFn) -> Pixels:
    dtype, last = draw(st.sampled_from(KINDS))
    shape = (draw(st.integers(1, 40)), draw(st.integers(1, 40)), *last)
    if draw(st.booleans()):
        return draw(arrays(dtype, shape))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    most = draw(st.sampled_from([1, 2, 5, np.iinfo(dtype).max]))
    steps = rng.integers(0, most, shape, endpoint=True, dtype=dtype)
    return np.cumsum(steps, axis=draw(st.sampled_from([0, 1])), dtype=dtype)


@settings(max_examples=300, deadline=None)
@given(pictures())
def test_readers_find_every_bit(pixels: Pixels) -> None:
    data = png.encode(pixels)
    for found in (by_pillow(data), by_opencv(data)):
        assert found.shape == pixels.shape and np.array_equal(found, pixels)


@pytest.mark.parametrize(("dtype", "last"), KINDS)
@pytest.mark.parametrize("make", [png._average, lambda rows, step: png._up(rows), lambda rows, step: png._plain(rows)])
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (3, 2), (30, 41)])
def test_each_filter_is_undone_by_readers(
    make: Any, size: tuple[int, int], dtype: Any, last: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (*size, *last), dtype=dtype, endpoint=True)
    monkeypatch.setattr(png, "_deflated", lambda rows, step: zlib.compress(make(rows, step).data))
    data = png.encode(pixels)
    assert np.array_equal(by_pillow(data), pixels) and np.array_equal(by_opencv(data), pixels)


@pytest.mark.parametrize("pixels", [noise(300, 301), photograph(256, 1, 2), np.zeros((300, 300, 3), np.uint8)])
def test_large_pictures_of_every_path(pixels: Pixels) -> None:
    data = png.encode(pixels)
    assert np.array_equal(by_pillow(data), pixels) and np.array_equal(by_opencv(data), pixels)
    assert png.encode(pixels) == data, "the same pixels, the same bytes"


def test_chunks_and_their_order() -> None:
    pixels = noise(5, 7)
    found = chunks(png.encode(pixels, {"parameters": "a, b", "sdbatch": '{"p":"красный"}'}))
    assert [kind for kind, _ in found] == [b"IHDR", b"tEXt", b"iTXt", b"IDAT", b"IEND"]
    assert found[0][1] == struct.pack(">IIBBBBB", 7, 5, 8, 2, 0, 0, 0)
    assert found[1][1] == b"parameters\0a, b"
    assert found[2][1] == b"sdbatch\0\0\0\0\0" + '{"p":"красный"}'.encode()
    assert len(zlib.decompress(found[3][1])) == 5 * (1 + 7 * 3)
    for pixels, depth in ((np.zeros((5, 7), np.uint8), 8), (np.zeros((5, 7), np.uint16), 16)):
        assert chunks(png.encode(pixels))[0][1] == struct.pack(">IIBBBBB", 7, 5, depth, 0, 0, 0, 0)


def test_pixels_of_more_than_a_chunk_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(png, "_LONGEST", 1000)
    pixels = noise(40, 50)
    data = png.encode(pixels)
    lengths = [len(content) for kind, content in chunks(data) if kind == b"IDAT"]
    assert len(lengths) > 5 and set(lengths[:-1]) == {1000}
    assert np.array_equal(by_pillow(data), pixels) and np.array_equal(by_opencv(data), pixels)


@settings(max_examples=100, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=200))
def test_texts_are_written_as_pillow_writes_them(text: str) -> None:
    data = png.encode(noise(3, 3), {"parameters": text})
    with Image.open(io.BytesIO(data)) as image:
        assert dict(image.text) == {"parameters": text}  # type: ignore[attr-defined]
    kind = b"tEXt" if all(ord(letter) < 256 for letter in text) else b"iTXt"
    assert [kind for kind, _ in chunks(data)] == [b"IHDR", kind, b"IDAT", b"IEND"]


@pytest.mark.parametrize(
    "turn", [lambda a: a[::2], lambda a: a[:, ::-1], np.asfortranarray, lambda a: a.swapaxes(0, 1)]
)
@pytest.mark.parametrize(("dtype", "last"), KINDS)
def test_not_contiguous_pixels_and_other_byte_orders(turn: Any, dtype: Any, last: tuple[int, ...]) -> None:
    pixels = turn(np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (20, 31, *last), dtype=dtype))
    data = png.encode(pixels)
    assert np.array_equal(by_pillow(data), pixels)
    assert png.encode(pixels.astype(pixels.dtype.newbyteorder(">"))) == data


@pytest.mark.parametrize(
    "pixels",
    [np.zeros((0, 4, 3), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3), np.uint16),
     np.zeros((4, 4), np.int32), np.zeros(4, np.uint8), np.zeros((4, 4), bool)],
    ids=str,
)  # fmt: skip
def test_other_pixels_are_refused(pixels: Pixels) -> None:
    with pytest.raises(ValueError, match="a PNG holds"):
        png.encode(pixels)


@pytest.mark.parametrize("grain", [0.5, 2, 5])
def test_photographs_are_not_much_larger_than_pillows(grain: float) -> None:
    made = [photograph(512, seed, grain) for seed in range(2)]
    assert sum(len(png.encode(one)) for one in made) <= 1.12 * sum(len(of_pillow(one)) for one in made)


def test_small_and_flat_pictures_are_not_much_larger_than_pillows() -> None:
    rng = np.random.default_rng(0)
    small = [scenes.render(scenes.sample(rng)) for _ in range(30)]
    grainy = [np.clip(one + rng.normal(0, 2, one.shape), 0, 255).astype(np.uint8) for one in small]
    large = [cv2.resize(one, (512, 512), interpolation=cv2.INTER_CUBIC) for one in small[:6]]
    mask = [np.where(one[..., 0] > 128, 255, 0).astype(np.uint8) for one in large]
    for made in (small, grainy, large, mask):
        assert sum(len(png.encode(one)) for one in made) <= 1.2 * sum(len(of_pillow(one)) for one in made)


def test_beside_files_are_of_this_kind() -> None:
    depth = np.arange(600, dtype=np.uint16).reshape(20, 30) * 100
    assert images.plain("mask", depth) == png.encode(depth)


@pytest.mark.skipif(shutil.which("pngcheck") is None, reason="no pngcheck here")
def test_pngcheck_finds_nothing(tmp_path: Path) -> None:
    for number, pixels in enumerate((noise(40, 30), photograph(256, 0, 2), np.zeros((9, 9), np.uint16))):
        path = tmp_path / f"{number}.png"
        path.write_bytes(png.encode(pixels, {"parameters": "é 🎈"}))
        subprocess.run(["pngcheck", "-q", str(path)], check=True)
