"""Scores: what they say of pictures that one can tell apart by eye."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from sdbatch.render.modes import score

Pixels = NDArray[np.uint8]


def picture(seed: int) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (64, 64, 3), np.uint8)


def apart(one: str, other: str) -> int:
    return (int(one, 16) ^ int(other, 16)).bit_count()


def test_a_blurred_picture_is_less_sharp_and_has_less_contrast() -> None:
    sharp = picture(0)
    blurred = ndimage.gaussian_filter(sharp, (2, 2, 0))
    found, less = score.scores(sharp), score.scores(blurred)
    assert less["sharpness"] < 0.1 * found["sharpness"] and less["contrast"] < found["contrast"]
    assert found["score"] == found["sharpness"]


def test_the_variance_of_the_laplacian_by_hand() -> None:
    one = np.zeros((5, 5, 3), np.uint8)
    one[2, 2] = 100
    laplacian = np.zeros((5, 5))
    laplacian[2, 2], laplacian[1, 2], laplacian[3, 2], laplacian[2, 1], laplacian[2, 3] = -400, 100, 100, 100, 100
    found = score.scores(one)
    assert found["sharpness"] == round(float(laplacian.var()), 4)
    assert found["brightness"] == round(100 / 25 / 255, 6)
    flat = score.scores(np.full((8, 8, 3), 51, np.uint8))
    assert (flat["sharpness"], flat["contrast"], flat["brightness"]) == (0, 0, 0.2)


def test_hashes_of_what_looks_alike_are_near() -> None:
    one = picture(1)
    brighter = np.clip(one.astype(np.int16) + 8, 0, 255).astype(np.uint8)
    hashes = [score.scores(each)["phash"] for each in (one, brighter, picture(2))]
    assert len(hashes[0]) == 16
    assert apart(hashes[0], hashes[1]) <= 6 < apart(hashes[0], hashes[2])
