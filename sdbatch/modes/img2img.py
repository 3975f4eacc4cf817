"""img2img: a picture remade after a prompt, more or less of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sdbatch.modes import COMMON, Size, picture_size

ABOUT = "a picture remade after a prompt: strength 0 keeps it, 1 ignores it"
PIPELINES = {"sd": "StableDiffusionImg2ImgPipeline", "sdxl": "StableDiffusionXLImg2ImgPipeline"}
USES = COMMON | {"width", "height", "image", "strength", "fit"}
NEEDS = ("image",)
SIZED = ("width", "height", "fit")
PICTURE: str | None = "image"
CHECKED: tuple[str, ...] = ()


def size(params: Mapping[str, Any], model: Size, picture: Size, kind: str) -> Size:
    """As asked, else the input's own, cut to a multiple of 8."""
    return picture_size(params, model, picture)


def problem(params: Mapping[str, Any], kind: str) -> str | None:
    """Nothing can be wrong with the whole that is not wrong with a part."""
    return None


def arguments(params: Mapping[str, Any]) -> dict[str, Any]:
    """The pipeline's arguments that all rows of a batch share."""
    return {"strength": params["strength"], "num_inference_steps": params["steps"], "eta": params["eta"]}
