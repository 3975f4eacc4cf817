"""The renderer's own arithmetic; that its pictures keep the promise is tested in test_exactness."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from sdbatch.errors import ModelError, PictureError
from sdbatch.render.batch import Guidance
from sdbatch.render.latents import pixels
from sdbatch.render.models import Models
from sdbatch.sources.models import Model, ModelSource
from sdbatch.types import Render

RENDER = Render(4, 1, "float32", "cpu", "sdpa", False, False, "auto", "degrade")
DEMO = ModelSource(Path()).resolve("demo")
SCALES = (1.0, 1.5, 4.0, 7.3, 12.345678, 0.1)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_guidance_multiplies_as_a_number_does(scale: float, dtype: torch.dtype) -> None:
    tensor = torch.randn((3, 4, 16, 16), generator=torch.Generator().manual_seed(0)).to(dtype)
    made = Guidance([scale] * 3) * tensor
    assert made.dtype == dtype
    assert torch.equal(made, scale * tensor)


def test_each_picture_has_its_own_guidance() -> None:
    tensor = torch.randn((len(SCALES), 4, 8, 8), generator=torch.Generator().manual_seed(0))
    made = Guidance(SCALES) * tensor
    for at, scale in enumerate(SCALES):
        assert torch.equal(made[at], scale * tensor[at])


@pytest.mark.parametrize("scale", [0.0, 1.0, 1.0000001, 7.5])
def test_guidance_compares_as_a_number_does(scale: float) -> None:
    assert (Guidance([scale, scale]) > 1) == (scale > 1)


def test_pixels_are_rounded_to_nearest() -> None:
    picture = np.zeros((2, 3, 3), np.float32)
    picture[0] = [[0.0, 1.0, 0.5], [1.4 / 255, 1.6 / 255, 254.6 / 255], [0.25, 0.75, 1 / 255]]
    (made,) = pixels([picture])
    assert made.dtype == np.uint8 and made.flags.c_contiguous
    assert made[0].tolist() == [[0, 255, 128], [1, 2, 255], [64, 191, 1]]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_picture_that_is_not_finite_is_refused(value: float) -> None:
    picture = np.zeros((2, 2, 3), np.float32)
    picture[1, 1, 2] = value
    with pytest.raises(PictureError, match="not numbers"):
        pixels([picture])


def test_a_model_is_kept_until_another_is_asked_for() -> None:
    models = Models(RENDER)
    first = models.pipeline(DEMO, "StableDiffusionPipeline")
    assert models.pipeline(DEMO, "StableDiffusionPipeline") is first
    assert models.loads == 1
    assert first.unet.dtype == torch.float32


def test_pipelines_over_one_model_share_its_parts() -> None:
    models = Models(RENDER)
    first, second = (models.pipeline(DEMO, f"StableDiffusion{name}Pipeline") for name in ("", "Img2Img"))
    assert first is not second and models.loads == 1
    assert first.unet is second.unet and first.vae is second.vae and first.text_encoder is second.text_encoder


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_weights_are_of_the_dtype_that_is_asked_for(dtype: str) -> None:
    pipe = Models(replace(RENDER, dtype=dtype)).pipeline(DEMO, "StableDiffusionPipeline")
    assert {part.dtype for part in (pipe.unet, pipe.vae, pipe.text_encoder)} == {getattr(torch, dtype)}


def test_little_memory_is_used_where_it_is_asked_for() -> None:
    pipe = Models(replace(RENDER, vram="low")).pipeline(DEMO, "StableDiffusionPipeline")
    assert pipe.vae.use_slicing and pipe.vae.use_tiling
    assert any("Sliced" in type(each).__name__ for each in pipe.unet.attn_processors.values())


def test_a_folder_that_cannot_be_loaded_is_a_model_error(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("model")
    (folder / "model_index.json").write_text(
        '{"_class_name": "StableDiffusionPipeline", "unet": ["diffusers", "UNet2DConditionModel"]}', encoding="utf-8"
    )
    unet = folder / "unet"
    unet.mkdir()
    (unet / "config.json").write_text("{}", encoding="utf-8")
    model = Model("broken", folder, None, "sd", "0" * 64, (64, 64), {"unet": unet}, "diffusers")
    with pytest.raises(ModelError, match=r"'broken': unet cannot be loaded as UNet2DConditionModel"):
        Models(RENDER).pipeline(model, "StableDiffusionPipeline")
