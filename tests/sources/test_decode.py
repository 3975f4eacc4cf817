"""Every kind of file becomes the RGB that docs/inputs.md says; other readers are asked where they can be."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from sdbatch.errors import InputError
from sdbatch.sources import decode
from sdbatch.sources.pictures import over, read, read_alpha

H, W = 11, 16
_RNG = np.random.default_rng(3)
RGB = _RNG.integers(0, 256, (H, W, 3)).astype(np.uint8)
RGBA = _RNG.integers(0, 256, (H, W, 4)).astype(np.uint8)
DEEP = _RNG.integers(0, 65536, (H, W, 4)).astype(np.uint16)
DEEP[0, :4] = [[0] * 4, [65535] * 4, [128] * 4, [129] * 4]  # 128 / 257 rounds down, 129 / 257 up
EIGHT = np.round(DEEP / 257).astype(np.uint8)

Put = Any


def grey(pixels: NDArray[Any]) -> NDArray[Any]:
    return np.repeat(pixels[..., None], 3, 2)


def on_white(colours: NDArray[Any], alpha: NDArray[Any]) -> NDArray[Any]:
    share = alpha[..., None] / 255
    return np.round(colours * share + 255 * (1 - share)).astype(np.uint8)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "BMP"])
def test_plain_rgb_is_bit_for_bit(kind: str, put: Put) -> None:
    path = put(Image.fromarray(RGB), kind, **({"lossless": True} if kind == "WEBP" else {}))
    found = read(path)
    assert found.dtype == np.uint8 and np.array_equal(found, RGB)
    assert read_alpha(path) is None
    assert decode.size(path) == (W, H)


def test_jpeg(put: Put) -> None:
    smooth = cv2.resize(RGB, (64, 64), interpolation=cv2.INTER_CUBIC)
    path = put(Image.fromarray(smooth), "JPEG", quality=95)
    assert np.abs(read(path).astype(int) - cv2.imread(str(path))[..., ::-1]).max() <= 1


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_grey_of_few_bits(bits: int, put: Put, png: Any) -> None:
    rows = [bytes([0b00011011] * 2)]
    want = {1: [0, 0, 0, 255, 255, 0, 255, 255], 2: [0, 85, 170, 255], 4: [17, 187]}[bits] * 2
    assert read(put(png(0, bits, rows, 16 // bits))).tolist() == [[[level] * 3 for level in want]]


def test_grey_and_one_bit(put: Put) -> None:
    assert np.array_equal(read(put(Image.fromarray(RGB[..., 0]))), grey(RGB[..., 0]))
    black = RGB[..., 0] > 127
    assert np.array_equal(read(put(Image.fromarray(black), "TIFF", compression="group4")), grey(black * np.uint8(255)))


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_alpha_lies_over_white(kind: str, put: Put) -> None:
    path = put(Image.fromarray(RGBA), kind, **({"lossless": True, "exact": True} if kind == "WEBP" else {}))
    assert np.array_equal(read(path), on_white(RGBA[..., :3], RGBA[..., 3]))
    alpha = read_alpha(path)
    assert alpha is not None and np.array_equal(alpha, RGBA[..., 3])


def test_grey_with_alpha(put: Put) -> None:
    path = put(Image.fromarray(np.ascontiguousarray(RGBA[..., 2:]), "LA"))
    assert np.array_equal(read(path), on_white(grey(RGBA[..., 2]), RGBA[..., 3]))


def test_every_mixture_is_rounded() -> None:
    colours, alpha = np.meshgrid(np.arange(256, dtype=np.uint8), np.arange(256, dtype=np.uint8))
    exact = (colours * (alpha / 255) + 255 * (1 - alpha / 255)).round()
    assert np.array_equal(over(colours, alpha, 255), exact)
    assert np.array_equal(over(colours, alpha, 0), (colours * (alpha / 255)).round())


def test_palette(put: Put) -> None:
    image = Image.fromarray(RGB).quantize(32)
    want = np.asarray(image.convert("RGB"))
    for kind in ("PNG", "TIFF", "BMP", "GIF"):
        assert np.array_equal(read(put(image, kind)), want), kind
    assert read_alpha(put(image)) is None


def test_palette_with_transparency(put: Put) -> None:
    image = Image.fromarray(RGB).quantize(32)
    index, colours = np.asarray(image), np.asarray(image.convert("RGB"))
    path = put(image, transparency=3)
    alpha = np.where(index == 3, 0, 255)
    assert np.array_equal(np.asarray(read_alpha(path)), alpha)
    assert np.array_equal(read(path), on_white(colours, alpha))
    table = _RNG.integers(0, 256, 32).astype(np.uint8)
    path = put(image, transparency=table.tobytes())
    assert np.array_equal(read(path), on_white(colours, table[index]))


def test_a_transparent_colour_of_8_bits(put: Put) -> None:
    pixels = RGB.copy()
    pixels[2:5, 2:5] = (1, 2, 3)
    clear = (pixels == (1, 2, 3)).all(-1)
    path = put(Image.fromarray(pixels), transparency=(1, 2, 3))
    assert np.array_equal(np.asarray(read_alpha(path)), np.where(clear, 0, 255))
    assert (read(path)[clear] == 255).all()
    path = put(Image.fromarray(pixels[..., 0]), transparency=1)
    assert np.array_equal(np.asarray(read_alpha(path)) == 0, pixels[..., 0] == 1)


def rows(pixels: NDArray[Any]) -> list[bytes]:
    return [row.astype(">u2").tobytes() for row in pixels]


def test_16_bits_are_rounded_and_not_cut(put: Put, png: Any) -> None:
    assert np.array_equal(read(put(png(0, 16, rows(DEEP[..., 0]), W))), grey(EIGHT[..., 0]))
    assert np.array_equal(read(put(png(2, 16, rows(DEEP[..., :3]), W))), EIGHT[..., :3])
    path = put(png(6, 16, rows(DEEP), W))
    assert np.array_equal(read(path), on_white(EIGHT[..., :3], EIGHT[..., 3]))
    assert np.array_equal(np.asarray(read_alpha(path)), EIGHT[..., 3])
    path = put(png(4, 16, rows(DEEP[..., 2:]), W))
    assert np.array_equal(read(path), on_white(grey(EIGHT[..., 2]), EIGHT[..., 3]))


def test_16_bits_as_opencv_writes_and_reads_them(put: Put) -> None:
    for ending in (".png", ".tif"):
        for channels in (1, 3, 4):
            pixels = DEEP[..., :channels]
            data = cv2.imencode(ending, pixels if channels > 1 else pixels[..., 0])[1]
            path = put(data.tobytes())
            back = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
            found = decode.decode(path).colours
            want = grey(back) if channels == 1 else back[..., 2::-1]
            assert np.array_equal(found, np.round(want / 257)), (ending, channels)


def test_a_transparent_colour_of_16_bits(put: Put, png: Any) -> None:
    pixels = DEEP[..., :3].copy()
    pixels[1:3] = (256, 770, 5)
    pixels[4] = (257, 770, 5)  # alike in its high bytes
    path = put(png(2, 16, rows(pixels), W, before=((b"tRNS", np.array([256, 770, 5], ">u2").tobytes()),)))
    assert (np.asarray(read_alpha(path))[1:3] == 0).all() and (np.asarray(read_alpha(path))[4] == 255).all()
    path = put(png(0, 16, rows(pixels[..., 0]), W, before=((b"tRNS", np.array([256], ">u2").tobytes()),)))
    assert (np.asarray(read_alpha(path))[1:3] == 0).all() and (np.asarray(read_alpha(path))[4] == 255).all()


@pytest.mark.parametrize("order", ["<", ">"])
def test_16_bit_tiffs_of_either_byte_order(order: str, put: Put, tiff: Any) -> None:
    def colours(samples: NDArray[Any], **tags: int) -> NDArray[Any]:
        return decode.decode(put(tiff(samples, order, **tags))).colours

    assert np.array_equal(colours(DEEP[..., :3]), EIGHT[..., :3])
    assert np.array_equal(colours(DEEP, t338=2), EIGHT[..., :3])
    assert np.array_equal(colours(DEEP, t338=0), EIGHT[..., :3])
    assert np.array_equal(colours(DEEP[..., 0]), grey(EIGHT[..., 0]))
    inks = EIGHT.astype(float)
    plain = (255 - inks[..., :3]) * (255 - inks[..., 3:]) / 255
    assert np.abs(colours(DEEP, t262=5) - plain).max() <= 1
    path = put(tiff(DEEP, order, t338=2))
    assert np.array_equal(np.asarray(read_alpha(path)), EIGHT[..., 3])


def test_tiffs_whose_white_is_zero_or_of_12_bits(put: Put, tiff: Any) -> None:
    assert np.array_equal(read(put(tiff(DEEP[..., 0], t262=0))), grey(255 - EIGHT[..., 0]))
    assert np.array_equal(read(put(tiff(RGB[..., 0], t262=0))), grey(255 - RGB[..., 0]))
    levels = DEEP[..., 0] >> 4
    pairs = levels.reshape(H, W // 2, 2)
    packed = np.stack([pairs[..., 0] >> 4, (pairs[..., 0] & 15) << 4 | pairs[..., 1] >> 8, pairs[..., 1] & 255], -1)
    path = put(tiff(packed.astype(np.uint8).reshape(H, -1), t258=12, t256=W))
    assert np.array_equal(read(path), grey(np.round(levels * (255 / 4095)).astype(np.uint8)))


def test_premultiplied_alpha_is_undone(put: Put, tiff: Any) -> None:
    alpha = np.full((H, W, 1), 128, np.uint8)
    samples = np.concatenate([RGB // 2, alpha], 2)
    found = decode.decode(put(tiff(samples, t338=1)))
    assert np.abs(found.colours.astype(int) - RGB).max() <= 3 and (np.asarray(found.alpha) == 128).all()


def test_cmyk_by_the_plain_formula(put: Put) -> None:
    inks = cv2.resize(RGBA, (64, 64), interpolation=cv2.INTER_CUBIC)
    plain = (255.0 - inks[..., :3]) * (255 - inks[..., 3:]) / 255
    assert np.abs(read(put(Image.fromarray(inks, "CMYK"), "TIFF")) - plain).max() <= 1
    path = put(Image.fromarray(inks, "CMYK"), "JPEG", quality=100, subsampling=0)
    assert b"Adobe" in path.read_bytes()  # whose ink is inverted: 255 is none
    assert np.abs(read(path) - plain).max() <= 6
    raw = path.read_bytes()
    at = raw.index(b"\xff\xee")
    assert np.array_equal(read(put(raw[:at] + raw[at + 16 :])), read(path))  # and without its mark it is too


@pytest.mark.parametrize(
    ("dtype", "tags", "said"),
    [
        (np.float32, {"t339": 3}, "floating-point"),
        (np.int32, {"t339": 2}, "whole numbers"),
        (np.int16, {"t339": 2}, "whole numbers"),
    ],
)
def test_numbers_without_a_white_are_refused(dtype: Any, tags: dict[str, int], said: str, put: Put, tiff: Any) -> None:
    path = put(tiff(DEEP[..., 0].astype(dtype), **tags))
    with pytest.raises(InputError, match=f"picture: holds .*{said}.*save it as 8 or 16 bits"):
        read(path)


def test_kinds_that_pillow_would_misread_are_refused(put: Put, tiff: Any) -> None:
    with pytest.raises(InputError, match="planar"):
        read(put(tiff(DEEP[..., :3], t284=2)))
    assert np.array_equal(read(put(tiff(RGB, t284=2))), RGB)
    with pytest.raises(InputError, match="LAB"):
        read(put(tiff(RGB, t262=8)))


def test_the_first_of_several_pictures(put: Put) -> None:
    other = [Image.fromarray(255 - RGB), Image.fromarray(RGB // 2)]
    for kind, more in (("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {})):
        path = put(Image.fromarray(RGB), kind, save_all=True, append_images=other, **more)
        assert np.array_equal(read(path), RGB), kind
        assert decode.size(path) == (W, H)
    first = Image.fromarray(RGB).quantize(64)
    path = put(first, "GIF", save_all=True, append_images=other)
    assert np.array_equal(read(path), np.asarray(first.convert("RGB")))
    path = put(Image.fromarray(RGB), "MPO", save_all=True, append_images=other, quality=100, subsampling=0)
    assert np.abs(read(path).astype(int) - RGB).max() <= 6
