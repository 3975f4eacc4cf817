"""Pixels rounded on a device are those that a CPU rounds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from PIL import Image

from sdbatch.api.checking import fsck
from sdbatch.demo import family
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


@pytest.mark.parametrize("mode", ["txt2img", "img2img", "inpaint"])
def test_latents_that_are_saved_are_what_was_decoded(mode: str, rig: Any, run_job: Any, tmp_path: Path) -> None:
    rig.scene("scene.png")
    (tmp_path / "scene.png").write_bytes((rig.base / "scene.png").read_bytes())
    whole = {"mask": [0, 0, 64, 64]} if mode == "inpaint" else {}  # nothing is pasted back
    asked = {name: value for name, value in JOBS[mode].items() if name != "seed"}
    job = {**asked, **whole, "output": {"save": ["latents"], "filename": "{seed}"}, "grid": {"seed": [3, 4]}}
    run_job(job, tmp_path / "run")
    vae = AutoencoderKL.from_pretrained(family.DEMO / "vae", torch_dtype=torch.float32)
    for seed in (3, 4):
        found = np.load(tmp_path / "run" / "images" / f"{seed}.latents.npy")
        assert (found.shape, found.dtype) == ((4, 16, 16), np.float32)
        with torch.no_grad():
            made = vae.decode(torch.from_numpy(found)[None] / vae.config.scaling_factor).sample[0]
        before = ((made.permute(1, 2, 0).numpy() + 1) * 127.5).clip(0, 255)
        assert np.abs(before - np.asarray(Image.open(tmp_path / "run" / "images" / f"{seed}.png"))).max() < 1.01
    assert not fsck(tmp_path / "run").findings
    (tmp_path / "run" / "images" / "3.latents.npy").write_bytes(b"no")
    assert [one.kind for one in fsck(tmp_path / "run").findings] == ["torn"]
