"""inpaint: all but the mask stays bit for bit, with plain models and with 9-channel ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

JOB = {"mode": "inpaint", "prompt": "a large green star in the center on a white background", "steps": 4}
BOX = [16, 12, 30, 36]
MODELS = ["demo", "nine"]


@pytest.fixture(scope="module")
def names(rig: Any, tiny: Any) -> dict[str, str]:
    """Inputs, and a 9-channel model, whose picture is 64 x 64 here as the demo model's is."""
    tiny.sd(rig.base / "nine", channels=9)
    mask = np.zeros((64, 64), np.uint8)
    mask[10:50, 20:33] = 255
    rgba = np.dstack([rig.read(rig.scene("for-alpha.png")), 255 - mask])
    return {
        "scene": rig.scene("scene.png"),
        "other": rig.scene("other.png", color="blue", shape="heart"),
        "mask": rig.save("mask.png", mask),
        "alpha": rig.save("alpha.png", rgba),
    }


def where(box: list[int], shape: tuple[int, int] = (64, 64)) -> NDArray[np.bool_]:
    x, y, width, height = box
    mask = np.zeros(shape, bool)
    mask[y : y + height, x : x + width] = True
    return mask


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("strength", [0, 0.5, 1])
def test_outside_the_mask_nothing_changes(model: str, strength: float, rig: Any, names: dict[str, str]) -> None:
    job = {**JOB, "model": model, "image": names["scene"], "mask": BOX, "strength": strength}
    (made,) = rig.together({**job, "width": 64, "height": 64})
    given, mask = rig.read(names["scene"]), where(BOX)
    assert np.array_equal(made[~mask], given[~mask])
    assert not np.array_equal(made[mask], given[mask])


@pytest.mark.parametrize("model", ["demo", "demo-inpaint"])
def test_the_distance_inside_the_mask_grows_with_strength(
    model: str, rig: Any, rendering: Any, names: dict[str, str]
) -> None:
    job = {**JOB, "model": model, "image": names["scene"], "mask": BOX, "steps": 10}
    made = rig.draw({**job, "grid": {"strength": [0, 0.4, 1]}})
    given, mask = rig.read(names["scene"]), where(BOX)
    distances = [rendering.distance(one[mask], given[mask]) for one in made]
    assert distances[0] < 12 and distances == sorted(distances) and distances[-1] > 2 * distances[0]


def test_every_form_of_a_mask(rig: Any, names: dict[str, str]) -> None:
    given = rig.read(names["scene"])
    red = np.abs(given.astype(int) - given[32, 32]).max(axis=2) == 0
    inner = np.asarray(Image.open(rig.base / names["mask"])) > 0
    forms: list[tuple[str, Any, NDArray[np.bool_]]] = [
        ("scene", BOX, where(BOX)),
        ("scene", names["mask"], inner),
        ("scene", {"invert": names["mask"]}, ~inner),
        ("scene", {"color": "#{:02x}{:02x}{:02x}".format(*given[32, 32])}, red),
        ("alpha", "alpha", inner),
    ]
    for name, form, mask in forms:
        (made,) = rig.together({**JOB, "image": names[name], "mask": form})
        over = rig.read(names["scene"]) if name == "scene" else made
        assert np.array_equal(made[~mask], over[~mask]), form
        changed = (made != over).any(axis=2) if name == "scene" else mask
        assert changed[mask].mean() > 0.3, form


def test_feather_fades_inside_the_mask_and_never_outside(rig: Any, rendering: Any, names: dict[str, str]) -> None:
    job = {**JOB, "image": names["scene"], "mask": BOX, "strength": 1}
    (hard,) = rig.together(job)
    (soft,) = rig.together({**job, "mask_feather": 6})
    given, mask = rig.read(names["scene"]), where(BOX)
    assert np.array_equal(soft[~mask], given[~mask])
    rim = mask & ~where([18, 14, 26, 32])
    middle = where([24, 20, 14, 20])
    assert np.array_equal(soft[middle], hard[middle])
    assert rendering.distance(soft[rim], given[rim]) < 0.6 * rendering.distance(hard[rim], given[rim])


def test_padding_mask_crop_repaints_in_a_picture_of_any_size(rig: Any) -> None:
    large = np.random.default_rng(0).integers(0, 255, (101, 150, 3), np.uint8)
    large = np.asarray(Image.fromarray(large).resize((150, 101), Image.Resampling.BOX))
    name = rig.save("large.png", large)
    box = [60, 30, 21, 25]
    job = {**JOB, "image": name, "mask": box, "padding_mask_crop": 8, "grid": {"seed": [1, 2]}}
    mask = where(box, (101, 150))
    made = rig.together(job)
    for one in made:
        assert one.shape == (101, 150, 3)
        assert np.array_equal(one[~mask], large[~mask])
        assert (one != large).any(axis=2)[mask].mean() > 0.9
    assert not np.array_equal(made[0], made[1])


@pytest.mark.parametrize("model", MODELS)
def test_a_batch_of_different_pictures_and_masks_is_each_alone(model: str, rig: Any, names: dict[str, str]) -> None:
    job = {
        **JOB, "model": model, "width": 64, "height": 64, "scheduler": "euler_a",
        "grid": {"image": [names["scene"], names["other"]], "mask": [BOX, [0, 0, 9, 9], [40, 40, 24, 24]]},
    }  # fmt: skip
    for one, other in zip(rig.together(job), rig.draw(job), strict=True):
        assert np.array_equal(one, other)


def test_a_mask_that_selects_nothing_fails_its_row_alone(rig: Any, names: dict[str, str]) -> None:
    found = rig.outcome(rig.rows({**JOB, "image": names["scene"], "grid": {"mask": [BOX, [200, 200, 5, 5]]}}))
    assert [type(one).__name__ for one in found] == ["Picture", "InputError"]
    assert "selects no pixel" in str(found[1])


@pytest.mark.parametrize("crop", [None, 16])
def test_what_is_not_masked_may_go_through_the_vae_too(crop: int | None, rig: Any, names: dict[str, str]) -> None:
    job = {**JOB, "image": names["scene"], "mask": BOX, "padding_mask_crop": crop, "steps": 2}
    kept, made = (rig.draw({**job, "unmasked": one})[0].astype(int) for one in ("original", "encoded"))
    inside = np.zeros(kept.shape[:2], bool)
    x, y, w, h = BOX
    inside[y : y + h, x : x + w] = True
    assert np.array_equal(kept[inside], made[inside]), "the model draws the same"
    apart = np.abs(kept - made)[~inside]
    assert 0 < apart.mean() < 12 and ((apart > 0).mean() > 0.5 or crop is not None)
    several = {**job, "unmasked": "encoded", "grid": {"image": [names["scene"], names["other"]]}}
    del several["image"]
    for one, other in zip(rig.together(several), rig.draw(several), strict=True):
        assert np.array_equal(one, other)
