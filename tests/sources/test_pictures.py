"""Pictures brought to a size: the right part, in the right place, and untouched where nothing is to do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from sdbatch.errors import InputError
from sdbatch.sources.pictures import fit

HOWS = ["resize", "crop", "pad", "native"]
KINDS = ["rgb", "grey", "depth", "depths"]


def picture(width: int, height: int, kind: str = "rgb") -> NDArray[Any]:
    rng = np.random.default_rng(width * 1000 + height)
    shape = (height, width, 3) if kind in ("rgb", "depths") else (height, width)
    return rng.random(shape, np.float32) if kind.startswith("depth") else rng.integers(0, 256, shape).astype(np.uint8)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("resample", ["lanczos", "nearest"])
@pytest.mark.parametrize("how", HOWS)
def test_a_picture_of_the_size_stays_bit_for_bit(how: str, resample: Any, kind: str) -> None:
    given = picture(24, 16, kind)
    assert np.array_equal(fit(given, 24, 16, how, resample), given)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("resample", ["lanczos", "nearest"])
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40), st.integers(1, 40), st.sampled_from(HOWS[:3]))
def test_every_size_and_type(kind: str, resample: Any, wide: int, high: int, width: int, height: int, how: str) -> None:
    given = picture(wide, high, kind)
    made = fit(given, width, height, how, resample)
    assert made.shape == (height, width, *given.shape[2:]) and made.dtype == given.dtype
    if resample == "nearest":
        assert np.isin(made, given).all()
    flat = np.full_like(given, 7)
    assert np.allclose(fit(flat, width, height, how, resample), 7, atol=1e-5)


def test_resize_is_pillow_s_lanczos() -> None:
    given = picture(40, 30)
    want = np.asarray(Image.fromarray(given).resize((16, 24), Image.Resampling.LANCZOS))
    assert np.array_equal(fit(given, 16, 24, "resize"), want)
    depth = picture(40, 30, "depths")
    assert np.array_equal(fit(depth, 16, 24, "resize")[..., 1], fit(depth[..., 1], 16, 24, "resize"))


def bars(width: int, height: int) -> NDArray[np.uint8]:
    """A level a column: 0, 10, 20, …"""
    return np.tile(np.arange(width, dtype=np.uint8) * 10, (height, 1))


def test_crop_keeps_the_centre() -> None:
    assert fit(bars(20, 4), 4, 4, "crop")[0].tolist() == [80, 90, 100, 110]
    assert fit(bars(20, 4).T, 4, 4, "crop")[:, 0].tolist() == [80, 90, 100, 110]
    assert fit(bars(20, 4), 8, 8, "crop", "nearest")[0].tolist() == [80, 80, 90, 90, 100, 100, 110, 110]


def test_pad_keeps_all_and_repeats_the_edges() -> None:
    made = fit(bars(8, 4), 8, 8, "pad")
    assert np.array_equal(made[2:6], bars(8, 4)) and (made == bars(8, 8)).all()
    made = fit(bars(4, 8), 9, 8, "pad")
    assert made[0].tolist() == [0, 0, 0, 10, 20, 30, 30, 30, 30]
    assert fit(bars(2, 2), 8, 4, "pad", "nearest")[0].tolist() == [0, 0, 0, 0, 10, 10, 10, 10]
    assert fit(picture(1000, 1), 8, 8, "pad").shape == (8, 8, 3)


def test_native_cuts_and_never_scales() -> None:
    given = picture(21, 18)
    assert np.array_equal(fit(given, 16, 16, "native"), given[1:17, 2:18])
    with pytest.raises(InputError, match="21 x 18 cannot be cut to 24 x 16"):
        fit(given, 24, 16, "native")


def test_an_unknown_fit() -> None:
    with pytest.raises(ValueError, match="stretch"):
        fit(picture(8, 8), 16, 16, "stretch")
