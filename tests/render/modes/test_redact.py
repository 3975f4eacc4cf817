"""redact, and inpaint that is shown nothing of what it replaces."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from sdbatch import api
from sdbatch.render.redacting import METHODS, boxes, filled, redacted

BOX = [20, 12, 24, 32]
INSIDE = np.s_[12:44, 20:44]


@pytest.fixture
def rig(rendering: Any, tmp_path: Path) -> Any:
    made = rendering.Rig(tmp_path)
    made.scene("a.png", color="red")
    other = made.read("a.png").copy()
    other[INSIDE] = np.random.default_rng(0).integers(0, 256, other[INSIDE].shape, np.uint8)
    made.save("b.png", other)
    return made


def outside(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    found = pixels.copy()
    found[INSIDE] = 0
    return found


@pytest.mark.parametrize("method", METHODS)
def test_the_rest_stays_and_the_part_does_not(rig: Any, method: str) -> None:
    job = {"mode": "redact", "mask": BOX, "redaction": method, "grid": {"image": ["a.png", "b.png"]}}
    one, other = rig.draw(job)
    for name, made in (("a.png", one), ("b.png", other)):
        assert (outside(made) == outside(rig.read(name))).all() and (made[INSIDE] != rig.read(name)[INSIDE]).any()
    assert (one == other).all() == (method == "fill"), "only a fill has no trace of it"


def test_a_fill_follows_from_what_is_around() -> None:
    picture = np.full((40, 40, 3), 200, np.uint8)
    mask = np.zeros((40, 40), np.bool_)
    mask[10:20, 10:20] = True
    assert (filled(picture, mask) == 200).all()
    picture[mask] = 7
    assert (filled(picture, mask) == 200).all()
    assert filled(picture, np.ones_like(mask)).std() == 0
    assert (redacted(picture, np.zeros_like(mask), "blur") == picture).all()
    mask[30:35, 0:4] = True
    assert boxes(mask) == [(10, 10, 20, 20), (0, 30, 4, 35)]


def test_squares_hold_few_colours() -> None:
    picture = np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)
    mask = np.zeros((64, 64), np.bool_)
    mask[8:56, 8:56] = True
    made = redacted(picture, mask, "pixelate")[8:56, 8:56]
    assert len(np.unique(made.reshape(-1, 3), axis=0)) == 36
    assert redacted(picture, mask, "blur")[mask].std() < 0.3 * picture[mask].std()


@pytest.mark.parametrize("strength", [0.6, 1.0])
@pytest.mark.parametrize("model", ["demo", "demo-inpaint"])
@pytest.mark.parametrize("crop", [None, 8])
def test_no_bit_follows_from_what_was_filled(rig: Any, model: str, strength: float, crop: int | None) -> None:
    job: dict[str, Any] = {
        "mode": "inpaint", "model": model, "mask": BOX, "strength": strength, "steps": 3, "mask_feather": 3,
        "prompt": "a star", "seed": 5, "padding_mask_crop": crop, "grid": {"image": ["a.png", "b.png"]},
    }  # fmt: skip
    one, other = rig.draw({**job, "masked_content": "fill"})
    assert (one == other).all(), "other pixels under the mask, the same bits"
    assert (outside(one) == outside(rig.read("a.png"))).all() and (one[INSIDE] != rig.read("a.png")[INSIDE]).any()
    first, second = rig.draw(job)
    assert (first != second).any(), "without it they show"


def test_a_run_is_verified(run_job: Callable[..., Any], root: Path, tmp_path: Path) -> None:
    report = run_job(root / "jobs" / "redact.yaml", tmp_path / "run")
    assert (report.made, report.failed) == (9, 0)
    table = pd.read_parquet(tmp_path / "run" / "manifest")
    assert table.pixel_sha256.nunique() == 9 and table.seed.isna().all()

    class Nobody:
        def start(self, text: str, left: int) -> None: ...

        def rows(self, count: int) -> None: ...

    assert api.verify(tmp_path / "run", Nobody()).counts == {"exact": 9}
