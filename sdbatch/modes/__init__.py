"""One file a mode: which parameters it uses and which pipeline makes it; no torch.

A mode's file gives `PIPELINE` (diffusers' class), `KINDS` (kinds of model that fit), `USES` (the
parameters that belong to its `id`), `LATER` (those not done yet) and `arguments(params)`.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from functools import cache
from typing import Any, Protocol, cast

from sdbatch.errors import UsageError


class Mode(Protocol):
    """What a mode's file offers."""

    PIPELINE: str
    KINDS: tuple[str, ...]
    USES: frozenset[str]
    LATER: frozenset[str]

    def arguments(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The pipeline's arguments that all rows of a batch share."""
        ...


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
