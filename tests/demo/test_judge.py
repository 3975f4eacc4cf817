"""The judge reads pictures right, and is no better than chance against a shuffled truth."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors import safe_open

from sdbatch.demo import judge, scenes, train_judge

Sample = tuple[list[scenes.Scene], NDArray[np.uint8]]


@pytest.fixture(scope="module")
def sample() -> Sample:
    """400 scenes of a seed that no training draws from."""
    rng = np.random.default_rng(31_337)
    drawn = [scenes.sample(rng, held=None) for _ in range(400)]
    return drawn, np.stack([scenes.render(scene) for scene in drawn])


def spoiled(pictures: NDArray[np.uint8], how: str) -> NDArray[np.uint8]:
    """The pictures as they are, or with the damage a VAE and noise do."""
    x = torch.from_numpy(pictures).permute(0, 3, 1, 2).float()
    if how == "blur and noise":
        x = train_judge._blur(x) + 8 * torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    elif how == "softened":
        with torch.random.fork_rng():
            torch.manual_seed(2)
            x = train_judge.soften(x)
    return x.round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()


def accuracy(readings: list[judge.Reading], truth: list[scenes.Scene], name: str) -> float:
    return float(np.mean([getattr(r, name) == getattr(s, name) for r, s in zip(readings, truth, strict=True)]))


@pytest.mark.parametrize("how", ["clean", "blur and noise", "softened"])
def test_reads_every_attribute(sample: Sample, how: str) -> None:
    drawn, pictures = sample
    readings = judge.read(spoiled(pictures, how))
    for name in scenes.ATTRIBUTES:
        assert accuracy(readings, drawn, name) >= 0.97, name


def test_against_a_shuffled_truth_it_is_no_better_than_chance(sample: Sample) -> None:
    drawn, pictures = sample
    order = np.random.default_rng(5).permutation(len(drawn))
    readings = judge.read(pictures)
    for name, values in scenes.ATTRIBUTES.items():
        found = accuracy(readings, [drawn[index] for index in order], name)
        chance = 1 / len(values)
        # Four standard errors of a share of 400.
        assert found <= chance + 4 * np.sqrt(chance * (1 - chance) / len(drawn)), name


def test_every_pair_of_colors_is_told_apart() -> None:
    drawn = [
        scenes.Scene(shape, color, "small", "center", background, light=2.0)
        for shape in ("star", "moon", "ring")  # the thinnest: most rim, least inside
        for color in scenes.COLORS
        for background in scenes.BACKGROUNDS
        if color != background
    ]
    readings = judge.read(spoiled(np.stack([scenes.render(s) for s in drawn]), "blur and noise"))
    assert [(r.color, r.background) for r in readings] == [(s.color, s.background) for s in drawn]


def test_a_reading_does_not_depend_on_its_batch(sample: Sample) -> None:
    _, pictures = sample
    together = judge.read(pictures)
    assert together == judge.read(pictures)
    assert [judge.read(picture)[0] for picture in pictures[:12]] == together[:12]


@pytest.mark.parametrize("color", scenes.COLORS)
def test_a_bare_background_shows_nothing(color: str) -> None:
    noise = np.random.default_rng(0).normal(0, 8, (64, 64, 3))
    picture = np.clip(np.array(scenes.COLORS[color]) + noise, 0, 255).astype(np.uint8)
    assert judge.read(picture) == [judge.Reading("none", "none", color, "none", "none")]


def test_refuses_what_it_cannot_read() -> None:
    assert judge.read(np.empty((0, 64, 64, 3), np.uint8)) == []
    for wrong in (np.zeros((1, 32, 32, 3), np.uint8), np.zeros((64, 64), np.uint8)):
        with pytest.raises(ValueError, match="64 x 64 x 3"):
            judge.read(wrong)
    with pytest.raises(ValueError, match="float32"):
        judge.read(np.zeros((1, 64, 64, 3), np.float32))


def test_the_weights_are_small_and_half() -> None:
    assert judge.WEIGHTS.stat().st_size <= 250_000
    assert sum(p.numel() for p in judge.JudgeNet().parameters()) <= 120_000
    with safe_open(str(judge.WEIGHTS), "pt") as file:
        kinds = {key: file.get_tensor(key).dtype for key in file.keys()}  # noqa: SIM118
    assert {kind for key, kind in kinds.items() if "num_batches" not in key} == {torch.float16}


def test_training_follows_its_seed() -> None:
    first, again, other = (train_judge.train(2, seed, count=32) for seed in (0, 0, 1))
    same = [torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True)]
    assert all(same)
    assert not all(torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))
