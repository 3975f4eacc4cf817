"""Boxes go where the pixels go, by every way of `fit`."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdbatch.sources import pictures
from sdbatch.sources.geometry import moved

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
