"""txt2img: a picture from a prompt and a seed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sdbatch.modes import COMMON, Size, nothing_wrong

ABOUT = "a picture from a prompt and a seed"
PIPELINES = {"sd": "StableDiffusionPipeline", "sdxl": "StableDiffusionXLPipeline"}
USES = COMMON | {"width", "height", "accelerate"}
NEEDS: tuple[str, ...] = ()
SIZED = ("width", "height")
PICTURE: str | None = None
CHECKED: tuple[str, ...] = ()
problem = nothing_wrong


def size(params: Mapping[str, Any], model: Size, picture: Size, kind: str) -> Size:
    """As asked, else the model's own."""
    return params["width"] or model[0], params["height"] or model[1]


def arguments(params: Mapping[str, Any]) -> dict[str, Any]:
    """The pipeline's arguments that all rows of a batch share."""
    return {
        "width": params["width"],
        "height": params["height"],
        "num_inference_steps": params["steps"],
        "eta": params["eta"],
    }
