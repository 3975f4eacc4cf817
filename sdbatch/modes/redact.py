"""redact: a part of a picture hidden, without a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sdbatch.modes import Size, nothing_wrong

ABOUT = "the masked part of a picture hidden without a model: filled from around, blurred, or in large squares"
PIPELINES = {"sd": ""}
USES = frozenset({"mode", "image", "mask", "redaction"})
NEEDS = ("image", "mask")
SIZED: tuple[str, ...] = ()
PICTURE: str | None = "image"
CHECKED: tuple[str, ...] = ()
problem = nothing_wrong


def size(params: Mapping[str, Any], model: Size, picture: Size, kind: str) -> Size:
    """The picture's own."""
    return picture if picture != (0, 0) else model


def made(params: Mapping[str, Any], picture: Size, kind: str) -> Size:
    """Width and height of what is made."""
    return picture


def arguments(params: Mapping[str, Any]) -> dict[str, Any]:
    """There is no pipeline."""
    return {}
