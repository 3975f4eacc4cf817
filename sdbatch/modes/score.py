"""score: numbers about a picture of an earlier stage; makes none of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sdbatch.modes import Size

ABOUT = (
    "no picture: sharpness, contrast and a perceptual hash of an earlier stage's, and what models that are named make "
    "of it, for `when` and `top`"
)
PIPELINES = {"sd": ""}
USES = frozenset({"mode", "image", "prompt", "prompt_syntax", "clip_model", "aesthetic_model"})
NEEDS = ("image",)
SIZED: tuple[str, ...] = ()
PICTURE: str | None = "image"
CHECKED = ("clip_model", "aesthetic_model")


def problem(params: Mapping[str, Any], kind: str) -> str | None:
    """A predictor of looks reads CLIP's embeddings."""
    if params["aesthetic_model"] is not None and params["clip_model"] is None:
        return "aesthetic_model: reads the embeddings of a CLIP model; name that as clip_model"
    return None


def size(params: Mapping[str, Any], model: Size, picture: Size, kind: str) -> Size:
    """The picture's own: nothing is made of it."""
    return picture if picture != (0, 0) else model


def made(params: Mapping[str, Any], picture: Size, kind: str) -> Size:
    """Width and height of the picture that goes on to later stages."""
    return picture


def arguments(params: Mapping[str, Any]) -> dict[str, Any]:
    """There is no pipeline."""
    return {}
