"""redact: a part of a picture hidden, without a model."""

from __future__ import annotations

from sdbatch.modes import as_it_is, as_it_was, no_arguments, nothing_wrong

ABOUT = "the masked part of a picture hidden without a model: filled from around, blurred, or in large squares"
PIPELINES = {"sd": ""}
USES = frozenset({"mode", "image", "mask", "redaction"})
NEEDS = ("image", "mask")
SIZED: tuple[str, ...] = ()
PICTURE: str | None = "image"
CHECKED: tuple[str, ...] = ()
problem, size, made, arguments = nothing_wrong, as_it_is, as_it_was, no_arguments
