"""upscale: each kind of upscaler; tiles without a seam."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from sdbatch.errors import ModelError, SpecError
from sdbatch.sources import realesrgan

JOB: dict[str, Any] = {"mode": "upscale", "steps": 4, "prompt": "a large purple heart on a white background"}


@pytest.fixture(scope="module")
def small(rig: Any) -> str:
    """A scene of 16 x 16 pixels."""
    whole = Image.fromarray(rig.read(rig.scene("whole.png", shape="heart", color="purple")))
    return rig.save("small.png", np.asarray(whole.resize((16, 16), Image.Resampling.BOX)))


def psnr(one: Any, other: Any) -> float:
    return float(10 * np.log10(255**2 / np.square(one.astype(float) - other).mean()))


def test_the_x4_upscaler_beats_bicubic(rig: Any, small: str) -> None:
    job = {**JOB, "model": "demo-upscaler", "image": small, "noise_level": 0, "guidance_scale": 1, "steps": 10}
    (made,) = rig.together(job)
    truth = rig.read("whole.png")
    bicubic = np.asarray(Image.open(rig.base / small).resize((64, 64), Image.Resampling.BICUBIC))
    assert made.shape == (64, 64, 3)
    assert psnr(made, truth) > psnr(bicubic, truth)


def test_the_x4_upscaler_alone_and_in_a_batch(rig: Any, small: str) -> None:
    job = {**JOB, "model": "demo-upscaler", "image": small, "scheduler": "euler_a", "grid": {"seed": [1, 2, 3]}}
    together = rig.together(job)
    assert len({one.tobytes() for one in together}) == 3
    for one, other in zip(together, rig.draw(job), strict=True):
        assert np.array_equal(one, other)
    levels = rig.draw({**JOB, "model": "demo-upscaler", "image": small, "grid": {"noise_level": [0, 200]}})
    assert not np.array_equal(levels[0], levels[1])


def test_the_latent_x2_upscaler(rig: Any, tiny: Any) -> None:
    tiny.latent_upscaler(rig.base / "latent")
    names = [rig.save(f"l{at}.png", np.random.default_rng(at).integers(0, 255, (21, 30, 3), np.uint8)) for at in (0, 1)]
    job = {
        **JOB, "model": "latent", "scheduler": "euler", "guidance_scale": 2,
        "grid": {"image": names, "seed": [1, 2]},
    }  # fmt: skip
    together = rig.together(job)
    assert {one.shape for one in together} == {(42, 60, 3)} and len({one.tobytes() for one in together}) == 4
    for one, other in zip(together, rig.draw(job), strict=True):
        assert np.array_equal(one, other)


def test_tiles_have_no_seam(rig: Any) -> None:
    """The mean step across a seam of two tiles is no larger than steps elsewhere."""
    name = rig.scene("tiled.png", shape="square", color="blue", background="yellow")
    job = {**JOB, "prompt": "a large blue square on a yellow background", "image": name, "scale": 2, "strength": 0.4,
           "tile": 64, "steps": 10}  # fmt: skip
    ratios = []
    for one in rig.draw({**job, "overlap": 16, "grid": {"seed": [1, 2, 3]}}):
        assert one.shape == (128, 128, 3)
        ratios.append(_seam(one))
    assert np.mean(ratios) < 1.3
    # The control: with tiles that hardly overlap, the same measure finds the seam.
    hard = [_seam(one) for one in rig.draw({**job, "overlap": 0, "grid": {"seed": [1, 2, 3]}})]
    assert np.mean(hard) > 3 * np.mean(ratios)


def _seam(picture: Any) -> float:
    """The mean step across the middle, where tiles of 64 meet or blend, over that of the lines around it."""
    found = []
    for turned in (picture, picture.transpose(1, 0, 2)):
        across = np.abs(np.diff(turned.astype(float), axis=0)).mean(axis=2)
        around = np.delete(across[48:80], 63 - 48, axis=0)
        found.append((across[63].mean() + 0.1) / (around.mean() + 0.1))
    return float(np.mean(found))


def test_a_picture_in_one_tile_is_img2img_of_it_enlarged(rig: Any) -> None:
    name = rig.scene("one-tile.png", shape="star")
    (made,) = rig.together({**JOB, "image": name, "scale": 1, "strength": 0.5})
    (plain,) = rig.together({**JOB, "mode": "img2img", "image": name, "strength": 0.5})
    assert made.shape == plain.shape and np.abs(made.astype(int) - plain).mean() < 12


def test_tiles_alone_and_in_a_batch_of_rows(rig: Any) -> None:
    names = [rig.save(f"t{at}.png", np.random.default_rng(at).integers(0, 255, (70, 50 + 9 * at, 3), np.uint8))
             for at in (0, 1)]  # fmt: skip
    job = {**JOB, "tile": 64, "scale": 1.5, "steps": 2, "scheduler": "euler_a", "grid": {"image": names}}
    for one, other in zip(rig.together(job), rig.draw(job), strict=True):
        assert np.array_equal(one, other)


@pytest.mark.skipif(not realesrgan.installed(), reason="needs sdbatch[realesrgan]")
def test_realesrgan_makes_pictures_four_times_as_large(rig: Any) -> None:
    name = rig.scene("esrgan.png", shape="star")
    first, second = (rig.together({**JOB, "model": "realesrgan-x4plus", "image": name})[0] for _ in range(2))
    assert first.shape == (256, 256, 3) and np.array_equal(first, second)
    small = np.asarray(Image.fromarray(first).resize((64, 64), Image.Resampling.BOX))
    assert psnr(small, rig.read(name)) > 25


@pytest.mark.skipif(bool(realesrgan.installed()), reason="sdbatch[realesrgan] is there")
def test_without_the_extra_realesrgan_says_what_it_needs(rig: Any, small: str) -> None:
    with pytest.raises(ModelError, match=r"pip install .sdbatch\[realesrgan\]"):
        rig.rows({**JOB, "model": "realesrgan-x4plus", "image": small})


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"model": "demo-upscaler", "scale": 2}, "always makes pictures 4 times as large"),
        ({"model": "demo-upscaler", "tile": 64}, "tile and overlap are for models of kind sd or sdxl"),
        ({"noise_level": 20}, "noise_level is for models of kind 'sd-upscale'"),
        ({"tile": 64, "overlap": 40}, "overlap is more than half a tile"),
    ],
)
def test_what_does_not_go_together_is_said(change: dict[str, Any], says: str, rig: Any, small: str) -> None:
    with pytest.raises(SpecError, match=says):
        rig.rows({**JOB, "image": small, **change})
