"""The renderer's own arithmetic; that its pictures keep the promise is tested in test_exactness."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sdbatch.errors import ModelError, PictureError
from sdbatch.render.models import Models
from sdbatch.render.renderer import Guidance, _pixels
from sdbatch.sources.models import EMBEDDED
from sdbatch.types import Render

RENDER = Render(4, 1, "float32", "cpu", "sdpa", False, False, "auto", "degrade")
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
    made = _pixels(picture)
    assert made.dtype == np.uint8 and made.flags.c_contiguous
    assert made[0].tolist() == [[0, 255, 128], [1, 2, 255], [64, 191, 1]]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_picture_that_is_not_finite_is_refused(value: float) -> None:
    picture = np.zeros((2, 2, 3), np.float32)
    picture[1, 1, 2] = value
    with pytest.raises(PictureError, match="not numbers"):
        _pixels(picture)


def test_a_model_is_kept_until_another_is_asked_for() -> None:
    models = Models(RENDER)
    first = models.pipeline(EMBEDDED / "demo", "StableDiffusionPipeline")
    assert models.pipeline(EMBEDDED / "demo", "StableDiffusionPipeline") is first
    assert models.loads == 1
    assert first.unet.dtype == torch.float32


def test_a_folder_that_cannot_be_loaded_is_a_model_error(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("model")
    (folder / "model_index.json").write_text(
        '{"_class_name": "StableDiffusionPipeline", "unet": ["diffusers", "UNet2DConditionModel"]}', encoding="utf-8"
    )
    with pytest.raises(ModelError, match="cannot be loaded as StableDiffusionPipeline"):
        Models(RENDER).pipeline(folder, "StableDiffusionPipeline")
