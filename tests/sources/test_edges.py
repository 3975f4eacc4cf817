"""Canny's edges lie where the picture's do."""

from __future__ import annotations

import numpy as np

from sdbatch.sources.edges import canny


def test_a_square_gives_its_outline() -> None:
    picture = np.full((64, 64, 3), 255, np.uint8)
    picture[16:48, 16:48] = (255, 0, 0)
    edges = canny(picture)
    assert edges.shape == (64, 64, 3) and edges.dtype == np.uint8 and set(np.unique(edges)) == {0, 255}
    lines = edges[..., 0] > 0
    assert (edges == edges[..., :1]).all()
    assert lines[14:18, 20:44].any(0).all() and lines[46:50, 20:44].any(0).all()
    assert lines[20:44, 14:18].any(1).all() and lines[20:44, 46:50].any(1).all()
    assert not lines[20:44, 20:44].any() and not lines[:13].any() and not lines[51:].any()


def test_an_edge_between_colours_of_one_luminance_is_found() -> None:
    picture = np.zeros((32, 32, 3), np.uint8)
    picture[:, :16] = (255, 0, 0)
    picture[:, 16:] = (0, 130, 0)
    assert canny(picture)[2:30, 14:18, 0].any(1).all()


def test_thresholds_count() -> None:
    picture = np.zeros((32, 32, 3), np.uint8)
    picture[:, 16:] = 20
    assert not canny(picture).any()
    assert canny(picture, 20, 50).any()
    assert not canny(np.full((8, 8, 3), 99, np.uint8), 1, 2).any()


def test_the_picture_is_left_alone_and_any_view_will_do() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (32, 48, 3)).astype(np.uint8)
    before = picture.copy()
    turned = canny(picture[:, ::-1])
    assert np.array_equal(picture, before) and turned.shape == picture.shape
    assert np.array_equal(canny(np.ascontiguousarray(picture[:, ::-1])), turned)
