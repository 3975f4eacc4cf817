"""Pixels rounded on a device are those that a CPU rounds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from sdbatch.errors import PictureError
from sdbatch.render import latents

JOBS: dict[str, dict[str, Any]] = {
    "txt2img": {"prompt": "a star", "steps": 2, "seed": 3},
    "img2img": {"mode": "img2img", "prompt": "a star", "steps": 2, "image": "scene.png", "strength": 1},
    "inpaint": {"mode": "inpaint", "prompt": "a star", "steps": 2, "image": "scene.png", "mask": [8, 8, 40, 40]},
    "upscale": {"mode": "upscale", "model": "demo-upscaler", "prompt": "a star", "steps": 2, "image": "scene.png"},
}


@pytest.fixture(scope="module", autouse=True)
def _scene(rig: Any) -> None:
    rig.scene("scene.png")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_every_value_is_rounded_alike(dtype: torch.dtype) -> None:
    if dtype == torch.float32:
        ties = (np.arange(255, dtype=np.float32) + 0.5) / 255
        near = np.concatenate([ties, np.nextafter(ties, np.float32(0)), np.nextafter(ties, np.float32(1))])
        drawn = torch.rand(3 * 400 * 100 - near.size, generator=torch.Generator().manual_seed(0))
        values = torch.cat([torch.from_numpy(near), drawn])
    else:
        every = torch.arange(2**15, dtype=torch.int32).to(torch.int16).view(dtype)
        values = every[every <= 1]
        values = torch.cat([values, values.new_zeros(-values.numel() % 300)])
    pictures = values.view(1, 3, -1, 100)
    (there,) = latents.rounded(pictures)
    (here,) = latents.pixels(list(pictures.permute(0, 2, 3, 1).float().numpy()))
    assert there.dtype == np.uint8 and there.flags.c_contiguous and np.array_equal(there, here)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_number_is_refused_there_too(value: float) -> None:
    pictures = torch.zeros((2, 3, 4, 4))
    pictures[1, 2, 3, 3] = value
    with pytest.raises(PictureError, match="not numbers"):
        latents.rounded(pictures)


@pytest.mark.parametrize("mode", JOBS)
def test_a_mode_draws_the_same_either_way(mode: str, rig: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (here,) = rig.draw(JOBS[mode])
    monkeypatch.setattr(latents, "rounds_there", lambda pipe: True)
    taken: list[torch.Size] = []
    rounded = latents.rounded
    monkeypatch.setattr(latents, "rounded", lambda pictures: (taken.append(pictures.shape), rounded(pictures))[1])
    (there,) = rig.draw(JOBS[mode])
    assert np.array_equal(here, there) and len(taken) == 1
