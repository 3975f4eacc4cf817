"""Which values of a row are paths, and how they read from another directory."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdbatch.sources import masks, parents, remote

PICTURES = frozenset({"image", "control_image", "depth_image"})
"""Parameters whose texts are always paths. A `mask` has paths among other things."""
MODELS = frozenset(
    {"model", "vae", "controlnet", "loras", "embeddings", "hypernetwork", "clip_model", "aesthetic_model"}
)
"""Parameters whose texts are paths where something lies there, and names otherwise."""
NAMING = PICTURES | MODELS | {"mask", "control_preprocessor"}
"""Every parameter that may hold a path."""

_DEMO = re.compile(r"demo[\w-]*\Z")


@dataclass(frozen=True)
class Move:
    """Rewrites paths that start from `base` to start from `to`; both are absolute. Absolute paths stay."""

    base: Path
    to: Path

    def path(self, given: str) -> str:
        """A path as seen from the new directory."""
        whole = os.path.abspath(self.base / given)
        there, here = remote.url(Path(whole)), remote.url(self.to)
        if there is not None and _bucket(there) != _bucket(here):
            return there
        if there is None and here is not None:
            return whole
        try:
            return os.path.relpath(whole, self.to).replace(os.sep, "/")
        except ValueError:  # another drive
            return whole

    def value(self, name: str, value: Any) -> Any:
        """A parameter's value with the paths in it rewritten."""
        if name == "mask":
            return masks.renamed(value, self.file)
        if name in PICTURES:
            return _texts(value, self.file)
        if name == "control_preprocessor":
            return _preprocessors(value, self._model)
        return _texts(value, self._model) if name in MODELS else value

    def file(self, text: str) -> str:
        """A text that is always a path, rewritten unless it is absolute."""
        plain = text and "\0" not in text and not os.path.isabs(text) and not remote.is_url(text)
        plain = plain and parents.read(text) is None
        return self.path(text) if plain else text

    def _model(self, text: str) -> str:
        if not text or "\0" in text or os.path.isabs(text) or _DEMO.match(text) or remote.is_url(text):
            return text
        try:
            return self.path(text) if (self.base / text).exists() else text
        except OSError:  # too long to be a path
            return text


def _bucket(url: str | None) -> list[str]:
    """Scheme and bucket."""
    return (url or "").split("/")[:3]


def _preprocessors(value: Any, change: Callable[[str], str]) -> Any:
    """The model in {depth: MODEL}, alone or in a list; `canny` and the like are no names of files."""
    if isinstance(value, list):
        return [_preprocessors(item, change) for item in value]
    if isinstance(value, dict) and isinstance(value.get("depth"), str):
        return {**value, "depth": change(value["depth"])}
    return value


def _texts(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [_texts(item, change) for item in value]
    if isinstance(value, dict):
        return {key: _texts(item, change) for key, item in value.items()}
    return value
