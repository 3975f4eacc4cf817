"""Masks: each form, what is wrong with it, and the pixels it selects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sdbatch.errors import InputError
from sdbatch.sources import masks, pictures

W, H = 12, 8
RGBA = np.random.default_rng(1).integers(0, 256, (H, W, 4)).astype(np.uint8)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A folder with a picture, and masks for it."""
    Image.fromarray(RGBA).save(tmp_path / "p.png")
    Image.fromarray(RGBA[..., :3].copy()).save(tmp_path / "opaque.png")
    white = np.zeros((H, W), np.uint8)
    white[2:5, 3:7] = 255
    Image.fromarray(white).save(tmp_path / "m.png")
    return tmp_path


def made(value: Any, base: Path, picture: str = "p.png") -> Any:
    mask = masks.read(value, base / picture, (W, H), base)
    assert mask.shape == (H, W) and mask.dtype == np.uint8
    return mask


def area(left: int, top: int, right: int, bottom: int) -> Any:
    mask = np.zeros((H, W), np.uint8)
    mask[top:bottom, left:right] = 255
    return mask


def test_a_picture_s_white_is_repainted(base: Path) -> None:
    assert np.array_equal(made("m.png", base), area(3, 2, 7, 5))
    assert np.array_equal(made(str(base / "m.png"), base), area(3, 2, 7, 5))
    assert np.array_equal(made({"invert": "m.png"}, base), 255 - area(3, 2, 7, 5))


def test_a_coloured_picture_counts_by_luminance_over_black(base: Path) -> None:
    colours = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]], np.uint8)
    alpha = np.array([[[255], [255], [255], [102]]], np.uint8)
    Image.fromarray(np.concatenate([colours, alpha], 2)).save(base / "c.png")
    mask = masks.read("c.png", base / "p.png", (4, 1), base)
    assert mask.tolist() == [[76, 150, 29, 102]]  # ITU-R BT.601: 0.299, 0.587, 0.114


def test_a_picture_of_another_size_is_brought_to_the_picture_s(base: Path) -> None:
    Image.fromarray(np.kron(area(3, 2, 7, 5), np.ones((3, 3), np.uint8))).save(base / "large.png")
    assert np.array_equal(made("large.png", base), area(3, 2, 7, 5))
    Image.fromarray(np.array([[0, 255, 0], [255, 0, 0]], np.uint8)).save(base / "small.png")
    assert np.array_equal(made("small.png", base), area(4, 0, 8, 4) | area(0, 4, 4, 8))


@pytest.mark.parametrize("size", [(8, 12), (12, 12), (24, 20), (6, 6), (1200, 700)])
def test_a_picture_of_another_shape_is_refused(size: tuple[int, int], base: Path) -> None:
    Image.new("L", size, 255).save(base / "x.png")
    with pytest.raises(InputError, match=rf"x\.png: is {size[0]} x {size[1]}, .* shape of its picture, 12 x 8"):
        made("x.png", base)


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 300))
def test_the_shape_of_any_thumbnail_is_right(width: int, height: int, side: int) -> None:
    scale = side / max(width, height)
    small = max(1, round(width * scale)), max(1, round(height * scale))
    assert masks.same_shape(small, (width, height)) and masks.same_shape((width, height), small)


def test_a_box(base: Path) -> None:
    assert np.array_equal(made([3, 2, 4, 3], base), area(3, 2, 7, 5))
    assert np.array_equal(made([0, 0, 1000, 1], base), area(0, 0, W, 1))
    assert np.array_equal(made([2.5, 1.4, 4.0, 3.2], base), area(3, 1, 7, 5))
    assert np.array_equal(made([10, 0, 1e300, 1e300], base), area(10, 0, W, H))
    assert np.array_equal(made({"invert": [0, 0, 3, 8]}, base), area(3, 0, W, H))


def test_a_colour_key(base: Path) -> None:
    pixels = RGBA[..., :3].copy()
    pixels[2:5, 3:7] = (10, 200, 30)
    pixels[0, 0] = (13, 204, 30)  # at a distance of 5
    pixels[0, 1] = (13, 204, 31)
    Image.fromarray(pixels).save(base / "k.png")
    assert np.array_equal(made({"color": "#0aC81e"}, base, "k.png"), area(3, 2, 7, 5))
    near = made({"color": "#0ac81e", "tolerance": 5}, base, "k.png")
    assert near[0, 0] == 255 and near[0, 1] == 0 and (near[2:5, 3:7] == 255).all()
    assert made({"color": "#000000", "tolerance": 442}, base, "k.png").all()
    given = masks.read({"color": "#0ac81e"}, base / "none.png", (W, H), base, pixels)  # as read already
    assert np.array_equal(given, area(3, 2, 7, 5))


def test_transparency(base: Path) -> None:
    want = 255 - RGBA[..., 3]
    for value in ("alpha", {"alpha": True}, {"invert": {"invert": "alpha"}}):
        assert np.array_equal(made(value, base), want)
    with pytest.raises(InputError, match=r"opaque\.png has no transparency"):
        made("alpha", base, "opaque.png")


@pytest.mark.parametrize(
    "value", [[W, 0, 4, 4], [0, H, 4, 4], [0, 0, 0.4, 4], {"color": "#010203"}, {"invert": [0, 0, W, H]}, "black.png"]
)
def test_nothing_selected(value: Any, base: Path) -> None:
    Image.new("L", (W, H)).save(base / "black.png")
    with pytest.raises(InputError, match=r"selects no pixel of .*p\.png"):
        made(value, base)


def test_a_mask_that_cannot_be_read(base: Path) -> None:
    with pytest.raises(InputError, match=r"none\.png: no such file"):
        made("none.png", base)
    (base / "text.png").write_text("text")
    with pytest.raises(InputError, match=r"text\.png: is not a picture"):
        made({"invert": "text.png"}, base)


GOOD: list[Any] = [
    "m.png", "alpha", {"alpha": True}, [0, 0, 1, 1], [0.5, 2, 3.25, 4], {"color": "#00ff00"},
    {"color": "#00FF00", "tolerance": 442}, {"invert": "m.png"}, {"invert": {"invert": [0, 0, 8, 8]}},
]  # fmt: skip
BAD: list[tuple[Any, str]] = [
    (None, "is no mask"), (3, "is no mask"), (True, "is no mask"), ({}, "is no mask"), ("", "is not a path"),
    ("a\0", "is not a path"), ([], "is not a box"), ([1, 2, 3], "is not a box"), ([1, 2, 3, "4"], "is not a box"),
    ([1, 2, 3, True], "is not a box"), ([-1, 0, 3, 4], "is not a box"), ([0, 0, float("nan"), 4], "is not a box"),
    ([0, 0, 0, 4], "no width"), ([[0, 0, 8, 8]], "is not a box"), ({"alpha": False}, "is not true"),
    ({"alpha": 1}, "is not true"), ({"alpha": True, "x": 1}, "is no mask"), ({"color": "green"}, "is not a colour"),
    ({"color": "#0f0"}, "is not a colour"), ({"color": 0}, "is not a colour"), ({"tolerance": 3}, "is no mask"),
    ({"color": "#00ff00", "tolerance": -1}, "0 to 442"), ({"color": "#00ff00", "tolerance": "3"}, "0 to 442"),
    ({"colour": "#00ff00"}, "is no mask"), ({"invert": None}, "is no mask"), ({"invert": "a", "x": 1}, "is no mask"),
]  # fmt: skip


@pytest.mark.parametrize("value", GOOD, ids=str)
def test_a_form_that_is_right(value: Any) -> None:
    assert masks.problem(value) is None


@pytest.mark.parametrize(("value", "said"), BAD, ids=str)
def test_a_form_that_is_wrong(value: Any, said: str, base: Path) -> None:
    wrong = masks.problem(value)
    assert wrong is not None and said in wrong and "\n" not in wrong
    with pytest.raises(InputError, match="mask: "):
        made(value, base)


def test_invert_without_end() -> None:
    value: Any = "alpha"
    for _ in range(5000):
        value = {"invert": value}
    assert "invert stands in invert" in str(masks.problem(value))


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(st.sampled_from(["invert", "alpha", "color", "tolerance", "x"]), inner, max_size=3)
    ),
)


@given(JSON)
def test_any_value_is_right_or_wrong(value: Any) -> None:
    wrong = masks.problem(value)
    assert wrong is None or "\n" not in wrong
    if wrong is None:
        assert len(masks.names(value)) <= 1
        masks.content(value, lambda name: "hash")


def test_names_and_contents() -> None:
    assert masks.names({"invert": {"invert": "m.png"}}) == ["m.png"] == masks.names("m.png")
    for value in ("alpha", [0, 0, 1, 1], {"color": "#00ff00"}, {"alpha": True}, {"invert": "alpha"}):
        assert masks.names(value) == []
    hashes = {"m.png": "abc"}.__getitem__
    assert masks.content("m.png", hashes) == {"picture": "abc"}
    assert masks.content({"invert": "m.png"}, hashes) == {"invert": {"picture": "abc"}}
    assert masks.content([0, 0, 1, 1], hashes) == [0, 0, 1, 1]
    assert masks.content({"alpha": True}, hashes) == masks.content("alpha", hashes) == "alpha"
    default = masks.content({"color": "#00ff00"}, hashes)
    assert (
        masks.content({"color": "#00FF00", "tolerance": 0}, hashes) == default == {"color": "#00ff00", "tolerance": 0}
    )


def test_the_mask_fits_with_its_picture(base: Path) -> None:
    """A mask in the picture's own pixels goes through the same fit, by the same rule."""
    mask = made([4, 0, 4, 8], base)
    assert pictures.fit(mask, 8, 8, "crop", "nearest")[0].tolist() == [0, 0, *[255] * 4, 0, 0]
