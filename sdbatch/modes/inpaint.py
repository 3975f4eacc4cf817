"""inpaint: a part of a picture repainted after a prompt; the rest stays bit for bit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sdbatch.modes import COMMON, Size, picture_size

ABOUT = "the masked part of a picture repainted; the rest stays bit for bit"
PIPELINES = {
    "sd-inpaint": "StableDiffusionInpaintPipeline",
    "sd": "StableDiffusionInpaintPipeline",
    "sdxl": "StableDiffusionXLInpaintPipeline",
    "sdxl-inpaint": "StableDiffusionXLInpaintPipeline",
}
USES = COMMON | set(
    "width height image mask strength fit masked_content unmasked mask_feather padding_mask_crop accelerate".split()
)
NEEDS = ("image", "mask")
SIZED = ("width", "height", "fit", "padding_mask_crop")
PICTURE: str | None = "image"
CHECKED = ("fit", "padding_mask_crop")


def size(params: Mapping[str, Any], model: Size, picture: Size, kind: str) -> Size:
    """As asked, else the input's own; with `padding_mask_crop` the crop's working size, else the model's own."""
    if params["padding_mask_crop"] is not None:
        return params["width"] or model[0], params["height"] or model[1]
    return picture_size(params, model, picture)


def problem(params: Mapping[str, Any], kind: str) -> str | None:
    """Whether `fit` and `padding_mask_crop` go together."""
    if params["padding_mask_crop"] is not None and params["fit"] not in ("resize", "native"):
        return "padding_mask_crop keeps the picture at its own size; leave fit out"
    return None


def arguments(params: Mapping[str, Any]) -> dict[str, Any]:
    """The pipeline's arguments that all rows of a batch share."""
    return {
        "width": params["width"],
        "height": params["height"],
        "strength": params["strength"],
        "num_inference_steps": params["steps"],
        "eta": params["eta"],
    }
