"""The demo world draws what its scenes and captions say."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from sdbatch.demo import scenes

COMBINATIONS = list(itertools.product(scenes.COLORS, scenes.SHAPES, scenes.BACKGROUNDS))


def any_scene() -> SearchStrategy[scenes.Scene]:
    """Scenes of every attribute value, figure and background of two colours, variations within their bounds."""
    shift = st.floats(-1.5, 1.5)
    return st.builds(
        scenes.Scene,
        shape=st.sampled_from(scenes.SHAPES),
        color=st.sampled_from(tuple(scenes.COLORS)),
        size=st.sampled_from(tuple(scenes.SIZES)),
        place=st.sampled_from(tuple(scenes.PLACES)),
        background=st.sampled_from(scenes.BACKGROUNDS),
        dx=shift,
        dy=shift,
        scale=st.floats(0.95, 1.05),
        light=st.floats(0, 2 * np.pi),
    ).filter(lambda scene: scene.color != scene.background)


def near(pixel: np.ndarray, color: str) -> bool:
    """Whether a pixel lies within the light's reach (10 %) of a palette colour."""
    return bool(np.all(np.abs(pixel.astype(float) - scenes.COLORS[color]) <= 0.1 * 255 + 1))


@given(any_scene())
def test_a_scene_shows_its_two_colors(scene: scenes.Scene) -> None:
    picture, cover = scenes.render(scene), scenes.coverage(scene)
    assert picture.shape == (64, 64, 3) and picture.dtype == np.uint8
    assert near(np.median(picture[cover == 1], 0), scene.color)
    assert near(np.median(picture[cover == 0], 0), scene.background)


@given(any_scene())
def test_a_scene_is_drawn_the_same_twice(scene: scenes.Scene) -> None:
    np.testing.assert_array_equal(scenes.render(scene), scenes.render(scene))


@given(any_scene())
def test_coverage_lies_about_the_center_within_the_radius(scene: scenes.Scene) -> None:
    cover = scenes.coverage(scene)
    assert cover.shape == (64, 64) and cover.dtype == np.float32
    assert cover.min() >= 0 and cover.max() == 1
    at = np.arange(64) + 0.5
    x, y = (float((cover * way).sum() / cover.sum()) for way in (at[None, :], at[:, None]))
    # A heart, a moon, a triangle are not balanced about the circle that holds them.
    lopsided = 0.35 * scene.radius
    assert abs(x - scene.center[0]) <= lopsided and abs(y - scene.center[1]) <= lopsided
    rows, columns = np.nonzero(cover)
    far = np.hypot(columns + 0.5 - scene.center[0], rows + 0.5 - scene.center[1]).max()
    assert 0.8 * scene.radius <= far <= 1.2 * scene.radius + 1  # a triangle's corner is at 1.192


@pytest.mark.parametrize("shape", ["circle", "square", "star", "cross", "ring"])
@pytest.mark.parametrize("place", scenes.PLACES)
@pytest.mark.parametrize("size", scenes.SIZES)
def test_balanced_shapes_have_their_mean_at_the_center(shape: str, place: str, size: str) -> None:
    scene = scenes.Scene(shape, "red", size, place, "blue")
    cover, at = scenes.coverage(scene), np.arange(64) + 0.5
    mean = (cover * at[None, :]).sum() / cover.sum(), (cover * at[:, None]).sum() / cover.sum()
    np.testing.assert_allclose(mean, scene.center, atol=0.15)


@pytest.mark.parametrize("shape", scenes.SHAPES)
def test_sizes_grow_and_places_differ(shape: str) -> None:
    areas = [scenes.coverage(scenes.Scene(shape, "red", s, "center", "blue")).sum() for s in scenes.SIZES]
    assert areas[0] * 1.5 < areas[1] < areas[2] / 1.5
    left, right, top, bottom, center = (
        scenes.Scene(shape, "red", "small", place, "blue").center
        for place in ("left", "right", "top", "bottom", "center")
    )
    assert left[0] < center[0] < right[0] and left[1] == center[1] == right[1]
    assert top[1] < center[1] < bottom[1] and top[0] == center[0] == bottom[0]


def test_every_shape_is_drawn_its_own_way() -> None:
    covers = [scenes.coverage(scenes.Scene(s, "red", "large", "center", "blue")) for s in scenes.SHAPES]
    for a, b in itertools.combinations(covers, 2):
        assert np.abs(a - b).sum() > 0.05 * max(a.sum(), b.sum())


def test_an_unknown_shape_is_named_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"no such shape: 'cube'; one of circle, square"):
        scenes.coverage(scenes.Scene("cube", "red", "small", "center", "blue"))


def test_an_eighth_is_held_out_and_it_covers_every_value() -> None:
    held = [combination for combination in COMBINATIONS if scenes.held_out(*combination)]
    assert len(held) == 56
    for position, values in enumerate((scenes.COLORS, scenes.SHAPES, scenes.BACKGROUNDS)):
        assert {combination[position] for combination in held} == set(values)


@given(st.integers(0, 2**32 - 1))
def test_samples_stay_on_their_side(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for held in (False, True):
        for _ in range(5):
            scene = scenes.sample(rng, held=held)
            assert scene.color != scene.background
            assert scenes.held_out(scene.color, scene.shape, scene.background) is held


def test_samples_reach_every_value_and_follow_the_seed() -> None:
    drawn = [[scenes.sample(rng, held=None) for _ in range(600)] for rng in map(np.random.default_rng, (3, 3, 4))]
    assert drawn[0] == drawn[1] != drawn[2]
    for name, values in scenes.ATTRIBUTES.items():
        assert {getattr(scene, name) for scene in drawn[0]} == set(values)
    held = [scenes.held_out(s.color, s.shape, s.background) for s in drawn[0]]
    assert 0.05 < np.mean(held) < 0.22


@given(any_scene())
def test_the_plain_caption_says_everything(scene: scenes.Scene) -> None:
    said = scenes.caption(scene)
    for name in scenes.ATTRIBUTES:
        assert getattr(scene, name) in said.split()
    assert said == scenes.caption(scene)


def test_the_plain_wording() -> None:
    scene = scenes.Scene("star", "orange", "small", "left", "black")
    assert scenes.caption(scene) == "a small orange star on the left on a black background"


@given(any_scene(), st.integers(0, 2**32 - 1))
def test_a_varied_caption_says_nothing_false(scene: scenes.Scene, seed: int) -> None:
    words = scenes.caption(scene, np.random.default_rng(seed)).replace(",", "").split()
    # Only the background's colour stands right before the word, whichever the sentence.
    for word, after in itertools.pairwise([*words, ""]):
        if word in scenes.COLORS:
            assert word == (scene.background if after == "background" else scene.color)
    assert set(words) & set(scenes.SHAPES) <= {scene.shape}
    small_words = {"on", "the", "in", "at", "to", "near", "side"}
    for name, wordings in (("size", scenes._SIZE_WORDS), ("place", scenes._PLACE_WORDS)):
        telling = {key: set(" ".join(texts).split()) - small_words for key, texts in wordings.items()}
        own = telling.pop(getattr(scene, name))
        assert not set(words) & (set().union(*telling.values()) - own)


def test_the_vocabulary_holds_the_world() -> None:
    known = {word for text in scenes.vocabulary() for word in text.replace(",", "").split()}
    rng = np.random.default_rng(0)
    said = {
        w for _ in range(2_000) for w in scenes.caption(scenes.sample(rng, held=None), rng).replace(",", "").split()
    }
    # "shape", said for want of a noun, is no word of the world: the tokenizer spells it from pieces.
    assert said - known <= {"shape"}
