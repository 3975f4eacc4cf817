"""What the family's models see beside the caption."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdbatch.demo import conditions, scenes
from sdbatch.demo.scenes import SIDE, Scene
from sdbatch.sources import edges as sources_edges

SEEDS = st.integers(0, 2**32 - 1)


def drawn(seed: int) -> tuple[Scene, np.random.Generator]:
    rng = np.random.default_rng(seed)
    return scenes.sample(rng, held=None), rng


@given(SEEDS)
def test_figures_are_nearer_than_all_ground(seed: int) -> None:
    scene, _ = drawn(seed)
    depth, inside = conditions.depth(scene), scenes.coverage(scene)
    assert depth.shape == (SIDE, SIDE) and depth.dtype == np.float32
    assert depth.min() > 0 and depth.max() <= 1.01
    assert depth[inside == 1].min() > depth[inside == 0].max() + 0.1


@given(SEEDS)
def test_the_ground_comes_nearer_towards_the_bottom(seed: int) -> None:
    scene, _ = drawn(seed)
    ground = np.where(scenes.coverage(scene) == 0, conditions.depth(scene), np.nan)
    column = ground[:, 0] if np.isfinite(ground[:, 0]).all() else ground[:, -1]
    assert (np.diff(column[np.isfinite(column)]) > 0).all()


def test_larger_figures_are_nearer() -> None:
    near = [
        conditions.depth(Scene("circle", "red", size, "center", "blue", scale=scale))[SIDE // 2, SIDE // 2]
        for size in ("small", "medium", "large")
        for scale in (0.95, 1.0, 1.05)
    ]
    assert near == sorted(near) and len(set(near)) == len(near)


def test_depth_does_not_know_colours() -> None:
    a, b = (conditions.depth(Scene("heart", *colors)) for colors in _COLORS)
    assert np.array_equal(a, b)


_COLORS = (("red", "small", "left", "blue"), ("white", "small", "left", "black"))


@given(SEEDS)
def test_edges_are_those_of_a_job(seed: int) -> None:
    picture = scenes.render(drawn(seed)[0])
    found = conditions.edges(picture)
    assert set(np.unique(found)) <= {0, 255}
    assert np.array_equal(np.repeat(found[..., None], 3, 2), sources_edges.canny(picture))


def test_edges_lie_on_the_outline() -> None:
    scene = Scene("circle", "white", "large", "center", "black")
    lines = conditions.edges(scenes.render(scene)) > 0
    y, x = np.nonzero(lines)
    off = np.abs(np.hypot(x + 0.5 - SIDE / 2, y + 0.5 - SIDE / 2) - 0.92 * scene.radius)
    assert len(off) > 60 and off.max() < 2


@given(SEEDS)
def test_holes_are_never_empty(seed: int) -> None:
    scene, rng = drawn(seed)
    hole = conditions.hole(scene, rng)
    assert hole.shape == (SIDE, SIDE) and hole.dtype == bool and hole.any()


def test_most_holes_hide_the_figure_and_leave_ground() -> None:
    hidden = whole = 0
    for seed in range(200):
        scene, rng = drawn(seed)
        hole = conditions.hole(scene, rng)
        hidden += bool(hole[scenes.coverage(scene) > 0].all())
        whole += bool(hole.all())
    assert 140 <= hidden <= 190 and 8 <= whole <= 40


def test_small_pictures_are_means() -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE, 3), np.uint8)
    found = conditions.small(pictures)
    assert found.shape == (2, SIDE // 4, SIDE // 4, 3) and found.dtype == np.uint8
    assert np.array_equal(found[1, 3, 5], np.rint(pictures[1, 12:16, 20:24].mean((0, 1))))


@pytest.mark.parametrize("left_top", [(0, 0), (192, 192), (64, 128)])
def test_a_window_is_a_part_of_the_scene_four_times_as_large(left_top: tuple[int, int]) -> None:
    scene = Scene("star", "red", "large", "right", "blue", dx=1.0)
    left, top = left_top
    part = conditions.Window(**vars(scene), left=left, top=top)
    within = scenes.coverage(part).reshape(16, 4, 16, 4).mean((1, 3))
    whole = scenes.coverage(scene)[top // 4 : top // 4 + 16, left // 4 : left // 4 + 16]
    assert np.abs(within - whole).max() < 0.15


@given(SEEDS)
def test_windows_lie_within_the_picture_and_hold_a_rim(seed: int) -> None:
    scene, rng = drawn(seed)
    part = conditions.window(scene, rng)
    assert 0 <= part.left <= 3 * SIDE and 0 <= part.top <= 3 * SIDE
    assert scenes.render(part).shape == (SIDE, SIDE, 3)


def test_most_windows_hold_figure_and_ground() -> None:
    shares = [scenes.coverage(conditions.window(*drawn(seed))).mean() for seed in range(100)]
    assert np.mean([0.02 < share < 0.98 for share in shares]) > 0.8
