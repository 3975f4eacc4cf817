"""Embedded profiles count where they are valid, and sRGB itself changes no bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from sdbatch.sources import colours
from sdbatch.sources.decode import decode
from sdbatch.sources.pictures import read, read_alpha

Put = Any
_RNG = np.random.default_rng(7)
RGBA = _RNG.integers(0, 256, (9, 13, 4)).astype(np.uint8)
RGB = np.ascontiguousarray(RGBA[..., :3])
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.mark.parametrize(("most", "bits"), [(65535, 16), (4095, 12), (1023, 10)])
def test_every_level_is_rounded(most: int, bits: int) -> None:
    levels = np.arange(most + 1, dtype=np.uint16)
    assert np.array_equal(colours.to_8_bits(levels, most), np.round(levels * (255.0 / most)))
    if bits == 16:
        assert np.array_equal(colours.to_8_bits(levels), np.round(levels / 257))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_srgb_changes_no_bit(kind: str, put: Put) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    path = put(Image.fromarray(RGB), kind, icc_profile=SRGB, **options)
    assert np.array_equal(read(path), RGB)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_a_profile_with_other_primaries_is_applied(kind: str, put: Put, icc: Any) -> None:
    """One that is sRGB but for its channels' order gives those channels back."""
    options = {"lossless": True} if kind == "WEBP" else {}
    found = read(put(Image.fromarray(RGB), kind, icc_profile=icc("RGB", 2.2, "grb"), **options)).astype(int)
    assert np.abs(found - read_as(RGB[..., [1, 0, 2]], icc("RGB", 2.2), put)).max() <= 1
    assert np.abs(found - RGB[..., [1, 0, 2]]).mean() < 6 < np.abs(found - RGB).mean()


def read_as(pixels: Any, profile: bytes, put: Put) -> Any:
    return read(put(Image.fromarray(np.ascontiguousarray(pixels)), icc_profile=profile)).astype(int)


def linear(levels: Any) -> Any:
    """Linear light to sRGB (IEC 61966-2-1)."""
    light = levels / 255
    return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def test_a_curve_is_applied(put: Put, icc: Any) -> None:
    assert np.abs(read_as(RGB, icc("RGB", 1.0), put) - linear(RGB)).max() <= 2
    grey = RGB[..., 0]
    found = read(put(Image.fromarray(grey), icc_profile=icc("GRAY", 1.0)))
    assert np.abs(found - linear(grey)[..., None]).max() <= 2


def test_of_transparent_and_palette_pictures_the_colours_are_converted_first(put: Put, icc: Any) -> None:
    profile = icc("RGB", 1.0)
    path = put(Image.fromarray(RGBA), icc_profile=profile)
    assert np.abs(decode(path).colours - linear(RGB)).max() <= 2
    alpha = read_alpha(path)
    assert alpha is not None and np.array_equal(alpha, RGBA[..., 3])
    share = RGBA[..., 3:] / 255
    assert np.abs(read(path) - (linear(RGB) * share + 255 * (1 - share))).max() <= 3
    image = Image.fromarray(RGB).quantize(16)
    plain = np.asarray(image.convert("RGB"))
    assert np.abs(read(put(image, icc_profile=profile)) - linear(plain)).max() <= 2
    grey = np.ascontiguousarray(RGBA[..., 2:])
    found = decode(put(Image.fromarray(grey, "LA"), icc_profile=icc("GRAY", 1.0)))
    assert np.abs(found.colours - linear(grey[..., :1])).max() <= 2


def test_pictures_of_16_bits_are_rounded_first(put: Put, icc: Any) -> None:
    image = Image.fromarray(RGB[..., 0].astype(np.uint16) * 257)
    found = read(put(image, icc_profile=icc("GRAY", 1.0)))
    assert np.abs(found - linear(RGB[..., :1])).max() <= 2


@pytest.mark.parametrize("broken", ["empty", "text", "cut", "space", "zeros"])
def test_a_profile_that_is_not_valid_is_ignored(broken: str, put: Put, icc: Any) -> None:
    whole = icc("RGB", 1.0)
    data = {
        "empty": b"", "text": b"not a profile" * 20, "cut": whole[:200], "space": icc("GRAY", 1.0),
        "zeros": whole[:128] + bytes(len(whole) - 128),
    }[broken]  # fmt: skip
    assert np.array_equal(read(put(Image.fromarray(RGB), icc_profile=data)), RGB)
    if broken == "space":
        inks = Image.fromarray(RGBA, "CMYK")
        assert np.array_equal(read(put(inks, "TIFF", icc_profile=whole)), read(put(inks, "TIFF")))
        grey = Image.fromarray(RGB[..., 0])
        assert np.array_equal(read(put(grey, icc_profile=whole)), read(put(grey)))
