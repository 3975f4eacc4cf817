"""Pictures of an earlier stage as inputs of a later one, and how they are named before they are there.

A name is `run:ID:WIDTHxHEIGHT:PATH`: the id of the row that makes the picture, the picture's size, and its path in the
run directory. So a later stage can be planned, checked and hashed before anything of the earlier one is made.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

TAKING = ("image", "control_image")
"""Parameters that take an earlier stage's picture."""
_FORM = re.compile(r"run:([0-9a-f]{20}):(\d{1,6})x(\d{1,6}):([^\0]+)\Z", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Parent:
    """A picture of an earlier stage.

    Attributes:
        id: of the row that it is of.
        width, height: pixels.
        path: relative to the run directory, with `/`.
    """

    id: str
    width: int
    height: int
    path: str

    @property
    def name(self) -> str:
        """What stands for it in a row."""
        return f"run:{self.id}:{self.width}x{self.height}:{self.path}"

    @property
    def inside(self) -> bool:
        """Whether its path leads nowhere but below the run directory, by the words."""
        path = PurePosixPath(self.path)
        return not path.is_absolute() and ".." not in path.parts


def read(text: Any) -> Parent | None:
    """What a name says; None where it is no such name."""
    found = _FORM.match(text) if isinstance(text, str) and text.startswith("run:") else None
    return Parent(found[1], int(found[2]), int(found[3]), found[4]) if found else None


def of(params: Mapping[str, Any]) -> str | None:
    """The id of the row whose picture a row is made from; None where there is none."""
    found = (read(params.get(name)) for name in TAKING)
    return next((parent.id for parent in found if parent is not None), None)
