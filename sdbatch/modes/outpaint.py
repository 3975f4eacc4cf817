"""outpaint: a picture continued past its edges; what was there stays bit for bit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sdbatch.modes import COMMON, Size

ABOUT = "a picture continued past its edges; what was there stays bit for bit"
PIPELINES = {
    "sd-inpaint": "StableDiffusionInpaintPipeline",
    "sd": "StableDiffusionInpaintPipeline",
    "sdxl": "StableDiffusionXLInpaintPipeline",
    "sdxl-inpaint": "StableDiffusionXLInpaintPipeline",
}
USES = COMMON | {"image", "outpaint", "overlap", "accelerate"}
NEEDS = ("image", "outpaint")
SIZED = ("outpaint",)
PICTURE: str | None = "image"
CHECKED = ("outpaint",)
SIDES = ("left", "right", "top", "bottom")
MOST = 8192
"""Most pixels added to a side."""


def size(params: Mapping[str, Any], model: Size, picture: Size, kind: str) -> Size:
    """The canvas, made up to a multiple of 8; the surplus, on the right and at the bottom, is cut off afterwards."""
    added = params["outpaint"] if problem(params, "") is None else {}
    width, height = picture if picture != (0, 0) else model
    sides = (width + _of(added, "left") + _of(added, "right"), height + _of(added, "top") + _of(added, "bottom"))
    return -(-sides[0] // 8) * 8, -(-sides[1] // 8) * 8


def problem(params: Mapping[str, Any], kind: str) -> str | None:
    """Whether `outpaint` names sides and whole numbers, at least one of them above 0."""
    added = params["outpaint"]
    allowed = f"a mapping of {', '.join(SIDES)} to pixels, 0 to {MOST}, one of them above 0"
    if not isinstance(added, dict) or not added or not added.keys() <= set(SIDES):
        return f"is not {allowed}"
    values = list(added.values())
    whole = all(isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST for value in values)
    return None if whole and any(values) else f"is not {allowed}"


def arguments(params: Mapping[str, Any]) -> dict[str, Any]:
    """The pipeline's arguments that all rows of a batch share: what is new starts from pure noise."""
    return {
        "width": params["width"],
        "height": params["height"],
        "strength": 1.0,
        "num_inference_steps": params["steps"],
        "eta": params["eta"],
    }


def _of(added: Mapping[str, Any], side: str) -> int:
    return int(added.get(side, 0))
