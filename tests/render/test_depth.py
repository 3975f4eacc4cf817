"""Depth maps on their way to the model and to files."""

from __future__ import annotations

import numpy as np

from sdbatch.render import depth

RAMP = np.array([[-1.0, 0.5, 2.0], [-1.0, 1.25, 2.0]], np.float32)


def test_depth_for_a_file_goes_from_the_least_to_the_greatest() -> None:
    assert depth.sixteen(RAMP, 3, 2).tolist() == [[0, 32768, 65535], [0, 49151, 65535]]


def test_depth_for_the_model_goes_from_far_to_near() -> None:
    found = depth.condition(RAMP, 3, 2)
    assert found.shape == (1, 1, 2, 3) and found.flatten().tolist() == [-1, 0, 1, -1, 0.5, 1]
    assert depth.condition(RAMP * 7 + 3, 3, 2).allclose(found)  # up to scale and shift


def test_a_flat_estimate_is_the_middle_and_no_division_by_nothing() -> None:
    flat = np.full((2, 3), 3.0, np.float32)
    assert not depth.condition(flat, 3, 2).any()


def test_near_is_white() -> None:
    grey = depth.grey(RAMP, 3, 2)
    assert grey.shape == (2, 3, 3) and grey[0, :, 0].tolist() == [0, 128, 255]
