"""Digests as numbers: equal where the texts are equal, and nowhere else."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from sdbatch.spec.digests import Digests

# Few different bytes, so that first halves often agree where the rest does not.
TEXT = st.sampled_from(["00" * 8 + end for end in ("0000", "0001", "ff00")] + ["ab" * 10, "red", "AB" * 10, "zz" * 10])
TEXTS = st.lists(TEXT, max_size=12)


def digests(texts: list[str]) -> Digests:
    return Digests.of(pa.array(texts, pa.string()))


@settings(deadline=None)
@given(TEXTS, TEXTS)
def test_among_is_membership(some: list[str], others: list[str]) -> None:
    assert digests(some).among(digests(others)).tolist() == [text in others for text in some]


@settings(deadline=None)
@given(TEXTS)
def test_heads_are_the_first_places_of_what_stands_more_than_once(texts: list[str]) -> None:
    at, heads = digests(texts).heads()
    found = dict(zip(at.tolist(), heads.tolist(), strict=True))
    assert [found.get(place, place) for place in range(len(texts))] == [texts.index(text) for text in texts]


def test_hex_text_and_bytes_are_one_also_in_a_slice() -> None:
    raw = [bytes(range(start, start + 10)) for start in range(20)]
    text = pa.array([one.hex() for one in raw], pa.string())[3:17]
    both = Digests.of(text), Digests.of(pa.array(raw, pa.binary(10))[3:17])
    assert all(np.array_equal(both[0].high, one.high) and np.array_equal(both[0].low, one.low) for one in both)
    assert len(both[0]) == 14 and both[0].among(both[1]).all()
