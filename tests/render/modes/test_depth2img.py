"""depth2img: depth from the model's estimator or from a file, once an input; what the pictures keep is scored apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from sdbatch.demo import conditions
from sdbatch.render import depth

JOB = {
    "mode": "depth2img", "model": "demo-depth", "prompt": "a green shape on a black background", "steps": 6,
    "strength": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def names(rig: Any, rendering: Any) -> dict[str, str]:
    scene = rendering.scene(shape="square", size="large")
    truth = conditions.depth(scene)
    np.save(rig.base / "depth.npy", truth)
    return {
        "scene": rig.scene("scene.png", shape="square"),
        "other": rig.scene("other.png", shape="ring", place="left", size="small"),
        "npy": "depth.npy",
        "grey": rig.save("grey.png", np.rint(truth * 255).astype(np.uint8)),
        "deep": rig.save("deep.png", np.rint(truth * 65535).astype(np.uint16)),
    }


def test_depth_is_computed_once_an_input(rig: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    name = rig.scene("once.png", shape="heart")
    calls: list[Any] = []
    estimate = depth.estimate
    monkeypatch.setattr(depth, "estimate", lambda *given: calls.append(given) or estimate(*given))
    made = rig.draw({**JOB, "image": name, "grid": {"seed": [1, 2], "strength": [0.5, 1]}})
    assert len(calls) == 1 and len({one.tobytes() for one in made}) == 4


def test_a_given_depth_decides_and_all_its_forms_say_the_same(rig: Any, rendering: Any, names: dict[str, str]) -> None:
    job = {**JOB, "image": names["scene"], "grid": {"depth_image": [names["npy"], names["deep"], names["grey"]]}}
    made = rig.together(job)
    assert rendering.distance(made[0], made[1]) < 1  # 16 bits
    assert rendering.distance(made[0], made[2]) < 6  # 8 bits
    moved = rig.save("moved.png", np.roll(np.asarray(Image.open(rig.base / names["deep"])), 16, axis=1))
    (other,) = rig.together({**JOB, "image": names["scene"], "depth_image": moved, "seed": 0})
    assert not np.array_equal(other, made[0])


def test_depth_can_be_had_beside_the_picture(rig: Any, names: dict[str, str]) -> None:
    (made,) = rig.outcome(rig.rows({**JOB, "image": names["scene"], "depth_image": names["deep"]}))
    saved = made.beside["depth"].astype(float)
    truth = np.asarray(Image.open(rig.base / names["deep"])).astype(float)
    assert made.beside["depth"].dtype == np.uint16 and saved.shape == (64, 64)
    assert np.corrcoef(saved.ravel(), truth.ravel())[0, 1] > 0.99


def test_the_input_is_kept_by_low_strength(rig: Any, rendering: Any, names: dict[str, str]) -> None:
    made = rig.draw({**JOB, "image": names["scene"], "steps": 10, "grid": {"strength": [0, 0.3, 1]}})
    distances = [rendering.distance(one, rig.read(names["scene"])) for one in made]
    assert distances[0] < 8 and distances == sorted(distances)


def test_a_batch_of_different_inputs_is_each_alone(rig: Any, names: dict[str, str]) -> None:
    job = {
        **JOB, "strength": 0.7, "scheduler": "euler_a",
        "grid": {"image": [names["scene"], names["other"]], "seed": [1, 2, 3]},
    }  # fmt: skip
    for one, other in zip(rig.together(job), rig.draw(job), strict=True):
        assert np.array_equal(one, other)


def test_a_flat_depth_fails_its_row_alone(rig: Any, names: dict[str, str]) -> None:
    flat = rig.save("flat.png", np.full((64, 64), 9, np.uint8))
    found = rig.outcome(rig.rows({**JOB, "image": names["scene"], "grid": {"depth_image": [names["npy"], flat]}}))
    assert [type(one).__name__ for one in found] == ["Picture", "InputError"] and "flat" in str(found[1])
