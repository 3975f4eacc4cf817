"""score: numbers about a picture of an earlier stage; makes none of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sdbatch.modes import as_it_is, as_it_was, no_arguments

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
size, made, arguments = as_it_is, as_it_was, no_arguments


def problem(params: Mapping[str, Any], kind: str) -> str | None:
    """A predictor of looks reads CLIP's embeddings."""
    if params["aesthetic_model"] is not None and params["clip_model"] is None:
        return "aesthetic_model: reads the embeddings of a CLIP model; name that as clip_model"
    return None
