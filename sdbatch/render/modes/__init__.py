"""One file a mode, the twin of the file of its name in `sdbatch/modes/`: how its pictures are made."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from functools import cache
from typing import Any, Protocol, cast

from sdbatch.render.batch import Batch, Context, Picture
from sdbatch.types import Row


class Twin(Protocol):
    """What a mode's twin offers."""

    def prepare(self, row: Row, context: Context) -> Any:
        """What only this row needs, before anything is drawn, so that its faults are its own.

        Raises:
            InputError: a picture that it names cannot be used.
        """
        ...

    def draw(self, batch: Batch, prepared: Sequence[Any]) -> list[Picture]:
        """The pictures of a batch's real rows.

        Args:
            prepared: what `prepare` gave, one a real row.

        Raises:
            PictureError: a picture is not finite.
        """
        ...


@cache
def get(name: str) -> Twin:
    """The twin of a mode."""
    return cast(Twin, importlib.import_module(f"{__name__}.{name}"))
