"""controlnet: edges decide the shape, one net or several; preprocessed once an input."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sdbatch.demo import judge
from sdbatch.errors import SpecError
from sdbatch.sources import edges

JOB = {
    "mode": "controlnet", "controlnet": "demo-controlnet", "control_preprocessor": "canny", "steps": 10,
    "prompt": "a green shape on a yellow background",
}  # fmt: skip


@pytest.fixture(scope="module")
def names(rig: Any) -> dict[str, str]:
    return {shape: rig.scene(f"{shape}.png", shape=shape) for shape in ("circle", "star", "cross", "triangle")}


def test_edges_give_the_shape_that_they_outline(rig: Any, names: dict[str, str]) -> None:
    made = rig.together({**JOB, "grid": {"control_image": list(names.values()), "seed": [1, 2]}})
    read = judge.read(np.stack(made))
    shapes = [one.shape for one in read]
    wanted = [shape for shape in names for _ in range(2)]
    assert sum(one == other for one, other in zip(shapes, wanted, strict=True)) >= 6
    assert sum(one.color == "green" and one.background == "yellow" for one in read) >= 6


def test_without_a_preprocessor_the_picture_is_taken_as_it_is(rig: Any, names: dict[str, str]) -> None:
    drawn = rig.save("edges.png", edges.canny(rig.read(names["star"])))
    (by_hand,) = rig.together({**JOB, "control_preprocessor": "none", "control_image": drawn})
    (canny,) = rig.together({**JOB, "control_image": names["star"]})
    assert np.array_equal(by_hand, canny)
    (found,) = rig.outcome(rig.rows({**JOB, "control_image": names["star"]}))
    assert np.array_equal(found.beside["control"], rig.read(drawn))


def test_edges_are_drawn_once_an_input(rig: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    name = rig.scene("once.png", shape="moon")
    calls: list[Any] = []
    canny = edges.canny
    monkeypatch.setattr(edges, "canny", lambda *given: calls.append(given) or canny(*given))
    rig.draw({**JOB, "steps": 1, "control_image": name, "grid": {"seed": [1, 2], "control_scale": [0.5, 1]}})
    assert len(calls) == 1
    rig.draw({**JOB, "steps": 1, "control_image": name, "control_preprocessor": {"canny": [10, 20]}})
    assert len(calls) == 2


def test_scale_0_is_txt2img_and_start_and_end_matter(rig: Any, rendering: Any, names: dict[str, str]) -> None:
    job = {**JOB, "control_image": names["circle"], "steps": 4, "width": 64, "height": 64}
    (off,) = rig.together({**job, "control_scale": 0})
    plain_job = {key: value for key, value in job.items() if not key.startswith("control")}
    (plain,) = rig.together({**plain_job, "mode": "txt2img"})
    assert rendering.distance(off, plain) < 1
    made = rig.draw({**job, "grid": {"control_end": [0.3, 1], "control_start": [0, 0.25]}})
    assert len({one.tobytes() for one in made}) == 4


def test_several_controlnets(rig: Any, names: dict[str, str]) -> None:
    both = {
        **JOB, "controlnet": ["demo-controlnet", "demo-controlnet"], "control_scale": [1, 0.5],
        "control_image": [[names["star"], names["cross"]], [names["cross"], names["star"]]],
        "control_preprocessor": ["canny", "none"],
    }  # fmt: skip
    images = both.pop("control_image")
    job = {**both, "steps": 4, "grid": {"control_image": images}}
    made = rig.together(job)
    assert not np.array_equal(made[0], made[1])
    for one, other in zip(made, rig.draw(job), strict=True):
        assert np.array_equal(one, other)
    (found,) = rig.outcome(rig.rows({**both, "steps": 1, "control_image": images[0]}))
    assert set(found.beside) == {"latents", "control", "control2"}


def test_depth_as_a_control_picture(rig: Any, names: dict[str, str]) -> None:
    job = {**JOB, "control_preprocessor": "depth", "control_image": names["circle"], "steps": 2}
    (found,) = rig.outcome(rig.rows(job))
    grey = found.beside["control"]
    assert grey.shape == (64, 64, 3) and grey[32, 32, 0] > grey[4, 4, 0] + 60


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"controlnet": None}, "controlnet: mode controlnet needs it"),
        ({"control_scale": [1, 2]}, "2 values for 1 ControlNets"),
        ({"control_start": 0.8, "control_end": 0.5}, "control_start is not before control_end"),
        ({"control_preprocessor": "sketch"}, "control_preprocessor is not one of none, canny, depth"),
        ({"control_scale": "much"}, "control_scale is not a number"),
    ],
)
def test_what_does_not_go_together_is_said(change: dict[str, Any], says: str, rig: Any, names: dict[str, str]) -> None:
    with pytest.raises(SpecError, match=says):
        rig.rows({**JOB, "control_image": names["star"], **change})
