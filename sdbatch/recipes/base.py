"""What recipes share: the rows of a data set, and the guards that judge what was made of them."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from sdbatch.errors import RowError
from sdbatch.parameters import PARAMETERS, SEED_MAX
from sdbatch.sources import decode
from sdbatch.sources.datasets import Item
from sdbatch.sources.hashes import HashCache
from sdbatch.spec import ids
from sdbatch.types import Row

Pixels = NDArray[np.uint8]
Region = NDArray[np.bool_]
TAKEN = ("prompt", "negative_prompt", "strength", "mask")
"""Columns of a data set that are parameters; others of a parameter's name become `data_NAME`."""
PARENT = ("parent_id", "parent_sha256", "parent_width", "parent_height")
"""Free columns that say what a row was made from."""


@dataclass(frozen=True)
class Verdict:
    """What a guard says of a picture.

    Attributes:
        outcome: keep it, make it again otherwise, or drop it.
        scores: what was measured.
    """

    outcome: Literal["keep", "again", "drop"] = "keep"
    why: str = ""
    scores: Mapping[str, float | str] = field(default_factory=dict)


class Guard(Protocol):
    """Judges pictures in the worker; travels to it, so it is made of plain values.

    Attributes:
        tries: how often a row is made at most.
        lost: what a row is that no attempt made well.
        clip_model: a CLIP model that compares a picture with its parent; None for none.
    """

    @property
    def tries(self) -> int: ...

    @property
    def lost(self) -> type[RowError]: ...

    @property
    def clip_model(self) -> str | None: ...

    def judge(self, made: Pixels, parent: Pixels, clip: float | None, region: Region | None) -> Verdict:
        """Judge a picture by its parent, brought to the same size.

        Args:
            made, parent: (height, width, 3).
            clip: the cosine between CLIP's embeddings of both, or of their boxes around `region`, where a model is
                named.
            region: (height, width), what was repainted; None where that is all.
        """

    def again(self, row: Row, attempt: int) -> Row:
        """A row as it is to be made in a later attempt, counted from 2; only its parameters differ."""


def cut(made: Pixels, parent: Pixels, region: Region) -> tuple[Pixels, Pixels]:
    """Both pictures, cut to the box around a region, at least 8 pixels a side."""
    high, wide = region.shape
    rows, columns = np.flatnonzero(region.any(1)), np.flatnonzero(region.any(0))
    top, left = (max(0, min(int(at[0]), most - 8)) for at, most in ((rows, high), (columns, wide)))
    bottom, right = max(int(rows[-1]) + 1, top + 8), max(int(columns[-1]) + 1, left + 8)
    return made[top:bottom, left:right], parent[top:bottom, left:right]


def seed(*parts: Any) -> int:
    """A seed that follows from these values alone: blake2b over their JSON, its first 4 bytes, little-endian."""
    digest = hashlib.blake2b(json.dumps(parts).encode(), digest_size=4).digest()
    return int.from_bytes(digest, "little") & SEED_MAX


def again(first: int, attempt: int) -> int:
    """The seed of a row's later attempt, counted from 2."""
    return first if attempt == 1 else seed("again", first, attempt)


@dataclass(frozen=True)
class Parent:
    """An input of a recipe.

    Attributes:
        name: its path as rows name it.
        sha256: of its file.
        size: width and height, upright.
        columns: the data set's, as text.
    """

    item: Item
    name: str
    sha256: str
    size: tuple[int, int]
    columns: Mapping[str, str | None]

    @property
    def id(self) -> str:
        """What its children's `parent_id` is: the first 20 digits of its sha256."""
        return self.sha256[:20]

    def cells(self) -> dict[str, Any]:
        """The columns of PARENT."""
        return dict(zip(PARENT, (self.id, self.sha256, str(self.size[0]), str(self.size[1])), strict=True))


def parents(items: Iterable[Item], base: Path) -> list[Parent]:
    """Hash and measure a data set's pictures.

    Raises:
        InputError: one cannot be read.
    """
    cache = HashCache()
    found = []
    for item in items:
        size = decode.size(item.path)
        columns = {named(name): text(value) for name, value in item.columns.items()}
        found.append(Parent(item, seen(item.path, base), cache.sha256(item.path), size, columns))
    cache.save()
    return found


def seen(path: Path, base: Path) -> str:
    """A path as a spec in `base` names it: relative where it lies below, else absolute."""
    whole = Path(os.path.abspath(path))
    return whole.relative_to(base).as_posix() if whole.is_relative_to(base) else str(whole)


def named(column: str) -> str:
    """A data set's column as a row has it."""
    free = column not in PARAMETERS and column not in (*PARENT, "variation", "id", "row", "path", "index")
    return column if (free and "." not in column) or column in TAKEN else f"data_{column.replace('.', '_')}"


def text(value: Any) -> str | None:
    """A cell as text; lists and mappings as JSON."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, (list, dict)):
        return json.dumps(value, sort_keys=True, default=str)
    return ids.canonical(value) if isinstance(value, (int, float, bool)) else str(value)
