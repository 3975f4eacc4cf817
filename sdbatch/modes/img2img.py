"""img2img: a picture remade after a prompt, more or less of it."""

from __future__ import annotations

from sdbatch.modes import COMMON, nothing_wrong, remaking, sized_by_picture

ABOUT = "a picture remade after a prompt: strength 0 keeps it, 1 ignores it"
PIPELINES = {"sd": "StableDiffusionImg2ImgPipeline", "sdxl": "StableDiffusionXLImg2ImgPipeline"}
USES = COMMON | {"width", "height", "image", "strength", "fit", "accelerate"}
NEEDS = ("image",)
SIZED = ("width", "height", "fit")
PICTURE: str | None = "image"
CHECKED: tuple[str, ...] = ()


size, problem, arguments = sized_by_picture, nothing_wrong, remaking
