"""The embedded demo model draws what it is asked for."""

from __future__ import annotations

import pytest

from sdbatch.demo import judge, score

pytestmark = pytest.mark.slow

FOLDER = judge.WEIGHTS.parent / "demo"
LEAST = {"color": 0.9, "background": 0.9, "shape": 0.75}


def test_fresh_captions_are_drawn() -> None:
    shares, pictures = score.adherence(score.Painter(FOLDER, steps=20), 40, guidance=4.0)
    assert pictures.shape == (40, 64, 64, 3)
    for name, least in LEAST.items():
        assert shares["both"][name] >= least, (name, shares)
