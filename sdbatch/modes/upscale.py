"""upscale: a picture made larger: by a diffusion upscaler, by img2img in tiles, or by Real-ESRGAN."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sdbatch.modes import COMMON, Size

ABOUT = "a picture made larger: by a diffusion upscaler, in tiles by an ordinary model, or by Real-ESRGAN"
PIPELINES = {
    "sd-upscale": "StableDiffusionUpscalePipeline",
    "sd-latent-upscale": "StableDiffusionLatentUpscalePipeline",
    "sd": "StableDiffusionImg2ImgPipeline",
    "sdxl": "StableDiffusionXLImg2ImgPipeline",
    "realesrgan": "",
}
USES = COMMON | {"image", "scale", "noise_level", "strength", "tile", "overlap"}
NEEDS = ("image",)
SIZED = ("scale", "tile")
PICTURE: str | None = "image"
CHECKED = ("scale", "noise_level", "tile", "overlap")
FACTORS = {"sd-upscale": 4.0, "sd-latent-upscale": 2.0, "realesrgan": 4.0}
TILED = ("sd", "sdxl")
SCALE = 2.0
"""The factor of tiled upscaling where a row names none."""
NOISE_LEVEL = 20


def size(params: Mapping[str, Any], model: Size, picture: Size, kind: str) -> Size:
    """What one pipeline call makes: a tile's side where there are tiles, else about the picture's size.

    The picture that comes out is `scale` times the input, whatever this says.
    """
    width, height = picture if picture != (0, 0) else model
    scale = params["scale"] or FACTORS.get(kind, SCALE)
    if params["tile"]:
        return params["tile"], params["tile"]
    return _multiple_of_8(width * scale), _multiple_of_8(height * scale)


def made(params: Mapping[str, Any], picture: Size, kind: str) -> Size:
    """Width and height of the picture that comes out; `params` are those of SIZED."""
    scale = params["scale"] or FACTORS.get(kind, SCALE)
    return round(picture[0] * scale), round(picture[1] * scale)


def _multiple_of_8(side: float) -> int:
    return max(8, -(-round(side) // 8) * 8)


def problem(params: Mapping[str, Any], kind: str) -> str | None:
    """Whether the parameters suit the kind of upscaler."""
    scale, fixed = params["scale"], FACTORS.get(kind)
    if fixed is not None and scale not in (None, fixed):
        return f"scale {scale:g}: a model of kind {kind!r} always makes pictures {fixed:g} times as large"
    if kind not in TILED and (params["tile"] is not None or params["overlap"] is not None):
        return f"tile and overlap are for models of kind {' or '.join(TILED)}, not {kind!r}"
    if kind != "sd-upscale" and params["noise_level"] is not None:
        return f"noise_level is for models of kind 'sd-upscale', not {kind!r}"
    if params["overlap"] is not None and params["overlap"] * 2 > (params["tile"] or 1 << 20):
        return "overlap is more than half a tile"
    return None


def arguments(params: Mapping[str, Any]) -> dict[str, Any]:
    """The pipeline's arguments that all rows of a batch share and every kind of upscaler takes."""
    return {"num_inference_steps": params["steps"]}
