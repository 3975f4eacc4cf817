"""Boxes go where the pixels go, by every way of `fit`."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdbatch.sources import pictures
from sdbatch.sources.geometry import Way, moved

side = st.integers(16, 120)


@given(st.sampled_from(["resize", "crop", "pad"]), side, side, side, side, st.data())
def test_a_white_box_is_where_its_box_says(
    fit: str, wide: int, high: int, width: int, height: int, data: st.DataObject
) -> None:
    x, y = data.draw(st.integers(4, wide - 8)), data.draw(st.integers(4, high - 8))
    w, h = data.draw(st.integers(4, wide - x)), data.draw(st.integers(4, high - y))
    picture = np.zeros((high, wide), np.uint8)
    picture[y : y + h, x : x + w] = 255
    # `pad` repeats the edge outwards: a box that touches it, in what is left of the picture, would grow.
    scale = max(wide / width, high / height)
    if fit == "pad" and min(x, y, wide - x - w, high - y - h) <= scale:
        return
    made = pictures.fit(picture, width, height, fit, "nearest") > 127
    box = moved((x, y, w, h), (wide, high), (width, height), fit)
    if box is None:
        assert not made.any()
        return
    rows, columns = (np.flatnonzero(made.any(axis=axis)) for axis in (1, 0))
    if not len(rows) or not len(columns):
        assert min(box[2:]) <= max(1.0, wide / width, high / height), "thinner than what nearest sees"
        return
    seen = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    said = box[0], box[1], box[0] + box[2], box[1] + box[3]
    assert max(abs(a - b) for a, b in zip(seen, said, strict=True)) <= 1.01


def test_native_cuts_the_centre_and_what_is_outside_is_gone() -> None:
    assert moved((0, 0, 10, 10), (100, 100), (50, 50), "native") is None
    assert moved((20, 30, 10, 10), (100, 100), (50, 50), "native") == (0, 5, 5, 10)
    assert moved((1, 2, 3, 4), (9, 9), (9, 9), "pad") == (1, 2, 3, 4)
    with pytest.raises(ValueError, match="is not resize"):
        moved((0, 0, 1, 1), (9, 9), (8, 8), "squeeze")


def test_outlines_are_cut_to_the_picture() -> None:
    way = Way((64, 32), (64, 64), "crop")  # at twice the size, less 32 pixels at the left and the right
    assert way.outline([20, 4, 40, 4, 40, 8, 20, 8]) == [8, 8, 48, 8, 48, 16, 8, 16]
    assert way.outline([0, 4, 10, 4, 10, 8]) is None, "cut off"
    corner = way.outline([8, 0, 24, 0, 8, 16])
    assert corner is not None and set(zip(corner[::2], corner[1::2], strict=True)) == {(0, 0), (16, 0), (0, 16)}
    with pytest.raises(ValueError, match="is not resize"):
        Way((9, 9), (8, 8), "squeeze").outline([0, 0, 1, 1, 0, 1])


@given(st.sampled_from(["resize", "crop", "pad"]), side, side, side, side, st.data())
def test_the_outline_of_a_box_is_that_box(
    fit: str, wide: int, high: int, width: int, height: int, data: st.DataObject
) -> None:
    x, y = data.draw(st.integers(0, wide - 4)), data.draw(st.integers(0, high - 4))
    w, h = data.draw(st.integers(2, wide - x)), data.draw(st.integers(2, high - y))
    way = Way((wide, high), (width, height), fit)
    outline, box = way.outline([x, y, x + w, y, x + w, y + h, x, y + h]), way.box((x, y, w, h))
    if box is None or outline is None:
        assert outline is None and (box is None or min(box[2:]) < 0.01)
        return
    xs, ys = outline[::2], outline[1::2]
    around = min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)
    assert around == pytest.approx(box, abs=0.001)


def test_keypoints_outside_are_not_seen() -> None:
    way = Way((64, 32), (64, 64), "crop")
    assert way.keypoints([20, 4, 2, 2, 4, 2, 30, 8, 0]) == [8, 8, 2, 0, 0, 0, 0, 0, 0]
