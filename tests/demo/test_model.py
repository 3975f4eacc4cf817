"""The embedded demo model draws what it is asked for."""

from __future__ import annotations

import pytest

from sdbatch.demo import judge, score

pytestmark = pytest.mark.slow

FOLDER = judge.WEIGHTS.parent / "demo"
LEAST = {"color": 0.95, "background": 0.95, "shape": 0.85, "place": 0.80, "all three": 0.80}


@pytest.fixture(scope="module")
def painter() -> score.Painter:
    return score.Painter(FOLDER, steps=20)


def test_fresh_captions_are_drawn(painter: score.Painter) -> None:
    shares, pictures = score.adherence(painter, 60, guidance=4.0)
    assert pictures.shape == (60, 64, 64, 3)
    for group in ("seen", "held out"):
        for name, least in LEAST.items():
            assert shares[group][name] >= least, (group, name, shares)


def test_a_negative_prompt_makes_its_colour_rare(painter: score.Painter) -> None:
    plain = score.red_share(painter, 4.0, None)
    assert plain > 0.1
    assert score.red_share(painter, 4.0, "red") <= plain / 2


def test_guidance_changes_adherence(painter: score.Painter) -> None:
    assert score.one_word(painter, 5.0, each=2) >= score.one_word(painter, 1.0, each=2) + 0.2


def test_the_weights_are_small_and_safe() -> None:
    files = [path for path in FOLDER.parent.rglob("*") if path.is_file()]
    own = [path for path in files if path.is_relative_to(FOLDER) or path == judge.WEIGHTS]  # the family has a bound too
    assert sum(path.stat().st_size for path in own) <= 12_000_000
    assert {path.suffix for path in files} <= {".json", ".txt", ".safetensors", ".md"}
