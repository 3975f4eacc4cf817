"""score: numbers about a picture of an earlier stage; makes none of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sdbatch.modes import Size, nothing_wrong

ABOUT = "no picture: sharpness, contrast and a perceptual hash of an earlier stage's, for `when` and `top`"
PIPELINES = {"sd": ""}
USES = frozenset({"mode", "image"})
NEEDS = ("image",)
SIZED: tuple[str, ...] = ()
PICTURE: str | None = "image"
CHECKED: tuple[str, ...] = ()
problem = nothing_wrong


def size(params: Mapping[str, Any], model: Size, picture: Size, kind: str) -> Size:
    """The picture's own: nothing is made of it."""
    return picture if picture != (0, 0) else model


def made(params: Mapping[str, Any], picture: Size, kind: str) -> Size:
    """Width and height of the picture that goes on to later stages."""
    return picture


def arguments(params: Mapping[str, Any]) -> dict[str, Any]:
    """There is no pipeline."""
    return {}
