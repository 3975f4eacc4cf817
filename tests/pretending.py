"""A renderer that only draws noise and models that are but names, for tests of workers; and rows for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdbatch.errors import InputError, ModelError, PictureError, RowError
from sdbatch.parameters import PARAMETERS
from sdbatch.render.batch import Picture
from sdbatch.sources.hashes import HashCache
from sdbatch.sources.models import Model
from sdbatch.sources.names import Sources
from sdbatch.types import Output, Render, Row
from sdbatch.workers.task import Task

RENDER = Render(4, 2, "float32", "cpu", "sdpa", False, False, "auto", "degrade")
RAISES = 1000
"""Seeds from here on make the renderer raise."""
MISSING = 999
"""The seed whose input picture cannot be read."""


def pixels(seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)


class Renderer:
    """Draws noise from the seed."""

    calls: list[tuple[list[int], int]]  # seeds and batch shape

    def __init__(self, render: Render, sources: Sources) -> None:
        type(self).calls = []

    def render(self, rows: Sequence[Row], size: int, *, precise: bool = False) -> list[Picture | RowError]:
        seeds = [row.params["seed"] for row in rows]
        self.calls.append((seeds, size))
        if any(seed >= RAISES for seed in seeds):
            raise PictureError("not\n  finite")
        return [InputError("no such file") if seed == MISSING else Picture(pixels(seed)) for seed in seeds]


class Models:
    """Every name is one model."""

    def __init__(self, base: Path, pins: Mapping[str, str | None] | None, cache: HashCache) -> None: ...

    def resolve(self, name: str, revision: str | None) -> Model:
        if name == "broken":
            raise ModelError("model 'broken': no such file")
        return Model(name, Path("folder"), None, "sd", "ab" * 32, (64, 64), {}, "diffusers")


def task(tmp_path: Path, **changes: Any) -> Task:
    return replace(Task("run1", tmp_path, tmp_path, RENDER, Output(), 0, {}), **changes)


def row(seed: int, line: int = 0, path: str = "", **params: Any) -> Row:
    given = {name: parameter.default for name, parameter in PARAMETERS.items()}
    given |= {"width": 64, "height": 64, "seed": seed, **params}
    fields = {"line": str(line)}
    return Row(f"{seed:020x}", f"{seed:010x}{line:010x}", "main", path or f"images/{seed}.png", given, fields)


def made(result: Any) -> list[int]:
    return [record["seed"] for record in result.records]
