"""img2img: what strength does, on the demo model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from sdbatch.render import latents
from sdbatch.sources import pictures

JOB = {"mode": "img2img", "prompt": "a large green star in the center on a blue background", "steps": 10}


@pytest.fixture(scope="module")
def inputs(rig: Any) -> list[str]:
    """Eight scenes."""
    made = [("circle", "red"), ("square", "blue"), ("heart", "yellow"), ("moon", "black")]
    names = []
    for shape, color in made:
        for place in ("center", "left"):
            names.append(rig.scene(f"{shape}-{place}.png", shape=shape, color=color, place=place, size="medium"))
    return names


@pytest.mark.slow
def test_the_distance_from_the_input_grows_with_strength(rig: Any, rendering: Any, inputs: list[str]) -> None:
    strengths = [0, 0.2, 0.4, 0.6, 0.8, 1]
    job = {**JOB, "grid": {"strength": strengths, "image": inputs}}
    made = iter(rig.draw(job))
    means = [float(np.mean([rendering.distance(next(made), rig.read(name)) for name in inputs])) for _ in strengths]
    assert means == sorted(means)
    assert means[0] < 6 and means[-1] > 5 * means[0]
    steps = np.diff(means[:-1])
    assert steps.min() > 0.1


@pytest.mark.parametrize("strength", [0, 0.09])
def test_where_no_step_is_left_it_is_the_vaes_round_trip(strength: float, rig: Any, inputs: list[str]) -> None:
    (made,) = rig.together({**JOB, "image": inputs[0], "strength": strength, "seed": 5})
    pipe = rig.renderer._texts.pipe
    with torch.inference_mode():
        pixels = torch.tensor(pictures.read(rig.base / inputs[0])).permute(2, 0, 1)[None].float() / 127.5 - 1
        found = pipe.vae.encode(pixels).latent_dist
        drawn = torch.randn(found.mean.shape, generator=torch.Generator().manual_seed(5))
        decoded = pipe.vae.decode(found.mean + found.std * drawn).sample
    plain = ((decoded[0].permute(1, 2, 0) / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    assert np.abs(made.astype(int) - plain).max() <= 1  # one picture here, a padded batch there


@pytest.mark.parametrize("scheduler", ["ddim", "euler_a", "dpmpp_2m_sde", "heun", "lms", "unipc", "pndm"])
def test_strength_1_is_txt2img_pixel_for_pixel_whatever_the_input(scheduler: str, rig: Any, inputs: list[str]) -> None:
    job = {**JOB, "scheduler": scheduler, "steps": 4}
    made = rig.together({**job, "strength": 1, "grid": {"image": inputs[:2]}})
    (plain,) = rig.together({**job, "mode": "txt2img"})
    assert all(np.array_equal(one, plain) for one in made)


def test_rows_with_one_input_share_its_decode_and_its_encoding(rig: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    name = rig.scene("shared.png", shape="cross")
    read: list[Any] = []
    encoded: list[Any] = []
    reading, encoding = pictures.read, latents.encode
    monkeypatch.setattr(pictures, "read", lambda path: read.append(path) or reading(path))
    monkeypatch.setattr(latents, "encode", lambda pipe, one: encoded.append(one) or encoding(pipe, one))
    made = rig.draw({**JOB, "image": name, "grid": {"strength": [0.3, 0.6], "seed": [1, 2, 3]}})
    assert len(read) == len(encoded) == 1
    assert len({one.tobytes() for one in made}) == 6


def test_a_batch_of_different_inputs_is_each_alone(rig: Any, inputs: list[str]) -> None:
    job = {**JOB, "strength": 0.6, "scheduler": "euler_a", "grid": {"image": inputs[:3], "seed": [7, 8]}}
    for one, other in zip(rig.together(job), rig.draw(job), strict=True):
        assert np.array_equal(one, other)


def test_a_picture_that_cannot_be_read_fails_its_row_alone(rig: Any, inputs: list[str]) -> None:
    (rig.base / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n but no more")
    (rig.base / "empty.png").write_bytes(b"")
    job = {**JOB, "steps": 2, "width": 64, "height": 64}
    found = rig.outcome(rig.rows({**job, "grid": {"image": [inputs[0], "broken.png", "empty.png", "no.png"]}}))
    assert [type(one).__name__ for one in found] == ["Picture", "InputError", "InputError", "InputError"]
    assert ["broken.png" in str(found[1]), "0 bytes" in str(found[2]), "no such file" in str(found[3])] == [True] * 3
    (alone,) = rig.together({**job, "image": inputs[0]})
    assert np.array_equal(found[0].pixels, alone)


@pytest.mark.parametrize(("fit", "shape"), [("resize", (48, 80)), ("crop", (48, 80)), ("pad", (48, 80))])
def test_fit_brings_an_input_to_the_rows_size(fit: str, shape: tuple[int, int], rig: Any, inputs: list[str]) -> None:
    job = {**JOB, "image": inputs[0], "strength": 0, "fit": fit, "height": shape[0], "width": shape[1]}
    (made,) = rig.together(job)
    assert made.shape == (*shape, 3)


def test_a_size_that_is_no_multiple_of_8_is_cut(rig: Any) -> None:
    name = rig.save("odd.png", np.full((71, 69, 3), 200, np.uint8))
    (made,) = rig.together({**JOB, "image": name, "strength": 0, "fit": "native"})
    assert made.shape == (64, 64, 3)
