"""depth2img: a picture remade after a prompt that keeps its depth."""

from __future__ import annotations

from sdbatch.modes import COMMON, nothing_wrong, remaking, sized_by_picture

ABOUT = "a picture remade after a prompt that keeps its depth"
PIPELINES = {"sd-depth": "StableDiffusionDepth2ImgPipeline"}
USES = COMMON | {"width", "height", "image", "strength", "fit", "depth_image", "accelerate"}
NEEDS = ("image",)
SIZED = ("width", "height", "fit")
PICTURE: str | None = "image"
CHECKED: tuple[str, ...] = ()


size, problem, arguments = sized_by_picture, nothing_wrong, remaking
