"""The watermark comes back from every format, also from plain colours, and cannot be seen."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from sdbatch.errors import RowError
from sdbatch.store import watermark

Pixels = NDArray[np.uint8]
TEXT = "sdbatch ✓"


def plain(*color: int) -> Pixels:
    return np.full((256, 256, 3), color, np.uint8)


def scene() -> Pixels:
    """A red disc on white, as the demo model paints it."""
    y, x = np.mgrid[:256, :256]
    made = plain(255, 255, 255)
    made[(x - 120) ** 2 + (y - 130) ** 2 < 70**2] = (220, 30, 30)
    return made


def smooth(height: int = 256, width: int = 320) -> Pixels:
    """Soft colours of every kind."""
    small = np.random.default_rng(0).integers(0, 256, (12, 12, 3), np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


PICTURES = {
    "white": plain(255, 255, 255), "black": plain(0, 0, 0), "grey": plain(128, 128, 128),
    "yellow": plain(255, 255, 0), "blue": plain(0, 0, 255), "red": plain(255, 0, 0),
    "scene": scene(), "smooth": smooth(),
}  # fmt: skip
FORMATS: dict[str, dict[str, Any]] = {
    "png": {"format": "PNG"},
    "jpeg 75": {"format": "JPEG", "quality": 75, "subsampling": 0},
    "webp 90": {"format": "WEBP", "quality": 90},
}


def through(pixels: Pixels, **options: Any) -> Pixels:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, **options)
    return np.asarray(Image.open(buffer).convert("RGB"))


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("format", FORMATS)
def test_the_text_comes_back(name: str, format: str) -> None:
    marked = through(watermark.embed(PICTURES[name], TEXT), **FORMATS[format])
    if format == "webp 90" and name == "grey":  # one colour all over, halved planes: rounding takes the same bits
        assert watermark.share(marked, TEXT) >= 0.95
    else:
        assert watermark.decode(marked, len(TEXT.encode())) == TEXT


@pytest.mark.parametrize("name", ["white", "scene", "smooth"])
def test_most_bits_survive_jpeg_with_halved_colour_planes(name: str) -> None:
    marked = watermark.embed(PICTURES[name], TEXT)
    assert watermark.share(through(marked, format="JPEG", quality=75), TEXT) >= 0.95


@pytest.mark.parametrize("name", PICTURES)
def test_it_is_not_seen(name: str) -> None:
    before, marked = PICTURES[name], watermark.embed(PICTURES[name], TEXT)
    assert marked.shape == before.shape and marked.dtype == np.uint8
    change = (marked.astype(float) - before) ** 2
    assert 10 * np.log10(255**2 / change.mean()) > 38  # dB
    assert change.any()


def test_the_input_is_left_alone_and_the_same_is_made_twice() -> None:
    before = scene()
    kept = before.copy()
    first = watermark.embed(before, TEXT)
    assert np.array_equal(before, kept) and np.array_equal(first, watermark.embed(before, TEXT))


def test_a_picture_without_it_gives_about_half_of_the_bits() -> None:
    text = "a longer text, so that chance has less to say"[:40]
    assert 0.2 < watermark.share(smooth(), text) < 0.8


def test_noise_that_leaves_no_block_in_doubt() -> None:
    """A text of one bit repeated, on a colour that already says it."""
    before = watermark.embed(watermark.embed(plain(140, 90, 60), "x"), "x")
    assert watermark.decode(before, 1) == "x"


def test_a_crop_loses_it() -> None:
    assert watermark.share(watermark.embed(smooth(), TEXT)[4:, 4:], TEXT) < 0.9


def test_the_edge_that_is_no_whole_block_stays() -> None:
    before = smooth(261, 259)
    marked = watermark.embed(before, TEXT)
    assert np.array_equal(marked[256:], before[256:]) and np.array_equal(marked[:, 256:], before[:, 256:])
    assert watermark.decode(marked, len(TEXT.encode())) == TEXT


def test_the_scheme_is_that_of_invisible_watermark() -> None:
    """Its reader, written down here in its plainest form: block by block, with the cosine transform."""
    from scipy.fft import dctn

    marked = watermark.embed(smooth(), TEXT).astype(np.float64)
    luma = marked @ [0.299, 0.587, 0.114]
    u = np.rint(0.492 * (marked[..., 2] - luma) + 128)
    haar = (u[::2, ::2] + u[1::2, ::2] + u[::2, 1::2] + u[1::2, 1::2]) / 2
    found: dict[int, list[bool]] = {}
    number = 0
    for top in range(0, haar.shape[0], 4):
        for left in range(0, haar.shape[1], 4):
            value = np.linalg.svd(dctn(haar[top : top + 4, left : left + 4], norm="ortho"), compute_uv=False)[0]
            found.setdefault(number % (8 * len(TEXT.encode())), []).append(value % 36 > 18)
            number += 1
    bits = [np.mean(found[at]) * 255 > 127 for at in range(len(found))]
    assert np.packbits(bits).tobytes().decode() == TEXT


@settings(max_examples=15, deadline=None)
@given(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12).filter(lambda t: len(t.encode()) < 42)
)
def test_any_text(text: str) -> None:
    assert watermark.decode(watermark.embed(scene(), text), len(text.encode())) == text


@pytest.mark.parametrize(
    ("text", "width", "height", "said"),
    [
        ("x", 256, 256, None),
        ("x" * 42, 256, 256, None),
        ("x" * 43, 256, 256, "the watermark is 43 bytes long; 256 x 256 pixels hold 42"),
        ("✓" * 15, 256, 256, "the watermark is 45 bytes long; 256 x 256 pixels hold 42"),
        ("x" * 43, 264, 256, None),
        ("x", 248, 2048, "248 x 2048 is too small for a watermark; it needs 256 pixels a side"),
        ("x", 64, 64, "64 x 64 is too small for a watermark; it needs 256 pixels a side"),
    ],
)
def test_what_fits(text: str, width: int, height: int, said: str | None) -> None:
    assert watermark.problem(text, width, height) == said


def test_what_does_not_fit_fails_the_row() -> None:
    with pytest.raises(RowError, match=r"^64 x 64 is too small"):
        watermark.embed(np.zeros((64, 64, 3), np.uint8), "x")


@pytest.mark.parametrize("length", [0, -1, 129])
def test_a_length_that_cannot_be(length: int) -> None:
    with pytest.raises(ValueError, match="do not fit in 1024 blocks"):
        watermark.decode(scene(), length)


def test_the_share_of_a_file() -> None:
    buffer = io.BytesIO()
    Image.fromarray(watermark.embed(scene(), TEXT)).save(buffer, "WEBP", quality=90)
    assert watermark.share_in_file(buffer.getvalue(), TEXT) == 1.0
