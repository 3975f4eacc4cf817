"""One file a mode: which parameters it uses, which models fit, how large its pictures are; no torch.

A mode's twin in `render/modes/`, of the same name, makes the pictures. Neither names another mode.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from functools import cache
from typing import Any, Protocol, cast

from sdbatch.errors import UsageError

Size = tuple[int, int]
"""Width and height in pixels."""

SCORE = "score"
"""The mode that makes no picture, and so is no use of a model."""

COMMON = frozenset(
    "model revision vae mode prompt negative_prompt prompt_syntax seed steps guidance_scale scheduler sigmas eta "
    "clip_skip loras embeddings hypernetwork".split()
)
"""What every mode that denoises uses."""


class Mode(Protocol):
    """What a mode's file offers.

    Attributes:
        ABOUT: one line for the manual.
        PIPELINES: kind of model → diffusers' pipeline.
        USES: the parameters that belong to its `id`.
        NEEDS: those that a row must give.
        SIZED: the parameters that `size` reads.
        PICTURE: the parameter whose picture `size` is told the size of, if any.
        CHECKED: the parameters that `problem` reads.
    """

    ABOUT: str
    PIPELINES: Mapping[str, str]
    USES: frozenset[str]
    NEEDS: tuple[str, ...]
    SIZED: tuple[str, ...]
    PICTURE: str | None
    CHECKED: tuple[str, ...]

    def size(self, params: Mapping[str, Any], model: Size, picture: Size, kind: str) -> Size:
        """Width and height of what the pipeline makes.

        Args:
            params: those of SIZED.
            model: the model's own size.
            picture: the input's size, (0, 0) where it cannot be read.
            kind: the model's kind.

        Raises:
            ValueError: no size can be had; the message says why.
        """
        ...

    def problem(self, params: Mapping[str, Any], kind: str) -> str | None:
        """What is wrong with the parameters of CHECKED together, for this kind of model; None if nothing is."""
        ...

    def arguments(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The pipeline's arguments that all rows of a batch share."""
        ...


def made(mode: Mode, params: Mapping[str, Any], size: Size, picture: Size, kind: str) -> Size:
    """Width and height of the picture that a row comes to, where the mode's `made` tells it; else `size`.

    Args:
        params: those of SIZED.
        size: what `Mode.size` gave.
        picture: the input's size.
    """
    own = getattr(mode, "made", None)
    return size if own is None else cast(Size, own(params, picture, kind))


@cache
def get(name: str) -> Mode:
    """A mode by its name.

    Raises:
        UsageError: this version does not have it.
    """
    if name not in available():
        raise UsageError(f"mode {name!r} is not in this version; there is: {', '.join(available())}")
    return cast(Mode, importlib.import_module(f"{__name__}.{name}"))


def available() -> list[str]:
    """Names of the modes that this version has."""
    import pkgutil

    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def fitting(kind: str) -> tuple[str, ...]:
    """The modes that a kind of model can do."""
    return tuple(name for name in available() if get(name).PIPELINES.get(kind) is not None and not _plain(name))


def _plain(name: str) -> bool:
    """Whether a mode has no use for a model."""
    return get(name).PIPELINES == {"sd": ""}


def sized_by_picture(params: Mapping[str, Any], model: Size, picture: Size, kind: str) -> Size:
    """As asked, else the picture's own, cut to a multiple of 8."""
    return picture_size(params, model, picture)


def as_it_is(params: Mapping[str, Any], model: Size, picture: Size, kind: str) -> Size:
    """The picture's own size, to the pixel: no model works on it."""
    return picture if picture != (0, 0) else model


def as_it_was(params: Mapping[str, Any], picture: Size, kind: str) -> Size:
    """What comes out is as large as what went in."""
    return picture


def no_arguments(params: Mapping[str, Any]) -> dict[str, Any]:
    """There is no pipeline."""
    return {}


def nothing_wrong(params: Mapping[str, Any], kind: str) -> str | None:
    """Nothing can be wrong with the whole that is not wrong with a part."""
    return None


def remaking(params: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of pipelines that start from a picture."""
    return {"strength": params["strength"], "num_inference_steps": params["steps"], "eta": params["eta"]}


def picture_size(params: Mapping[str, Any], model: Size, picture: Size, multiple: int = 8) -> Size:
    """The size of a picture made from another: as asked, else the input's own cut to a multiple, else the model's.

    Raises:
        ValueError: `fit: native` beside a width or height.
    """
    width, height = params.get("width"), params.get("height")
    if params.get("fit") == "native" and (width or height):
        raise ValueError("fit native takes the picture's own size; leave width and height out")
    if picture == (0, 0):  # unreadable: the row will fail by itself, and needs some size until then
        return width or model[0], height or model[1]
    own = [max(multiple, side // multiple * multiple) for side in picture]
    return width or own[0], height or own[1]
