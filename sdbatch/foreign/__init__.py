"""Metadata that tools leave in pictures → a row. One file a tool, each a pure function of the picture's texts.

Nothing that is read here is run, unpickled, opened or fetched: texts become checked values, or are listed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from sdbatch.foreign import a1111, comfyui, invokeai, own, swarmui
from sdbatch.foreign.found import Found

__all__ = ["KEYS", "Found", "read"]

KEYS = ("sdbatch", "parameters", "prompt", "invokeai_metadata", "sd-metadata")
"""The texts of a picture that are looked at."""
_READERS: tuple[Callable[[Mapping[str, str]], Found | None], ...] = (
    own.read,
    swarmui.read,  # before AUTOMATIC1111, whose keyword it has
    a1111.read,
    comfyui.read,
    invokeai.read,
)


def read(texts: Mapping[str, str]) -> Found | None:
    """The row that a picture's texts tell of.

    Args:
        texts: by keyword, as in a PNG's text chunks; see KEYS.

    Returns:
        None where no tool's metadata are among them.
    """
    found: Found | None = None
    for reader in _READERS:
        found = found or reader(texts)
    if found is None or found.own or own.KEY not in texts:
        return found
    return replace(found, unmapped={own.KEY: "is damaged, or written by a later sdbatch", **found.unmapped})
