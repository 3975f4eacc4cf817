"""outpaint: the picture survives bit for bit, and there is no step where it ends."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

JOB = {"mode": "outpaint", "prompt": "a large red circle in the center on a white background", "steps": 6}


@pytest.mark.parametrize(
    "sides", [{"left": 16, "right": 16, "top": 16, "bottom": 16}, {"right": 13}, {"top": 5, "left": 3}]
)
def test_what_was_there_survives(sides: dict[str, int], rig: Any) -> None:
    name = rig.scene(f"{'-'.join(sides)}.png")
    (made,) = rig.together({**JOB, "image": name, "outpaint": sides})
    left, top = sides.get("left", 0), sides.get("top", 0)
    width, height = 64 + left + sides.get("right", 0), 64 + top + sides.get("bottom", 0)
    assert made.shape == (height, width, 3)
    assert np.array_equal(made[top : top + 64, left : left + 64], rig.read(name))


def test_there_is_no_step_at_the_seam(rig: Any) -> None:
    """On a plain ground the step across the seam is no larger than steps elsewhere in what is new."""
    steps, elsewhere = [], []
    for background in ("white", "blue", "yellow", "black"):
        name = rig.scene(f"seam-{background}.png", background=background, size="small", color="green")
        (made,) = rig.together({**JOB, "prompt": f"on a {background} background", "image": name,
                                "outpaint": {"left": 32, "right": 32}})  # fmt: skip
        across = np.abs(np.diff(made.astype(float), axis=1)).mean(axis=2)
        steps.append(across[:, [31, 95]].mean())
        elsewhere.append(np.delete(across, [31, 95], axis=1).mean())
    assert np.mean(steps) < 3 * np.mean(elsewhere) + 1


def test_overlap_0_does_not_lead_the_new_up_to_the_old(rig: Any) -> None:
    name = rig.scene("overlap.png", background="purple")
    job = {**JOB, "image": name, "outpaint": {"right": 32}}
    led, plain = (rig.together({**job, **more})[0] for more in ({}, {"overlap": 0}))
    assert not np.array_equal(led, plain)
    step = [np.abs(one[:, 64].astype(int) - one[:, 63]).mean() for one in (led, plain)]
    assert step[0] < step[1]


def test_rows_alone_and_together_are_the_same(rig: Any) -> None:
    names = [rig.scene(f"{color}.png", color=color) for color in ("red", "green", "blue")]
    job = {**JOB, "outpaint": {"right": 8}, "grid": {"image": names, "seed": [1, 2]}}
    for one, other in zip(rig.together(job), rig.draw(job), strict=True):
        assert np.array_equal(one, other)
