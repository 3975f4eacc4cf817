"""Render a job in this process and look at its pixels: no directory, no files but the inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from sdbatch.demo import scenes
from sdbatch.errors import RowError
from sdbatch.render.batch import Picture
from sdbatch.render.renderer import Renderer
from sdbatch.sources.names import Sources
from sdbatch.spec import load
from sdbatch.spec.grid import Rows
from sdbatch.types import Render, Row

RENDER = Render(4, 1, "float32", "cpu", "sdpa", False, False, "auto", "degrade")
Pixels = NDArray[np.uint8]


class Rig:
    """A folder with inputs, and a renderer over it that keeps its models between jobs.

    Attributes:
        base: the folder.
        size: the batch shape.
        render: how.
    """

    def __init__(self, base: Path, render: Render = RENDER) -> None:
        self.base, self.size, self.render = base, render.batch_size, render
        self.sources = Sources(base)
        self.renderer = Renderer(render, self.sources)

    def save(self, name: str, pixels: NDArray[Any]) -> str:
        """Write a picture below the folder."""
        path = self.base / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
        return name

    def scene(self, name: str = "scene.png", **attributes: str) -> str:
        """Write a picture of the demo world: a large red circle in the center on white, or as asked."""
        return self.save(name, scenes.render(scene(**attributes)))

    def read(self, name: str) -> Pixels:
        """A picture of the folder, (height, width, 3)."""
        return np.asarray(Image.open(self.base / name).convert("RGB"))

    def rows(self, job: Mapping[str, Any]) -> list[Row]:
        """The rows of a job, in order."""
        made = Rows(load.job_from_mapping(dict(job), self.base), None, self.sources)
        return made.take(range(len(made)))

    def keys(self, job: Mapping[str, Any]) -> set[str]:
        """The batch keys of a job."""
        made = Rows(load.job_from_mapping(dict(job), self.base), None, self.sources)
        return set(pa.Table.from_batches(made.batches()).column("key").to_pylist())

    def outcome(self, rows: Sequence[Row]) -> list[Picture | RowError]:
        """What came of rows of one batch key."""
        found: list[Picture | RowError] = []
        for start in range(0, len(rows), self.size):
            found += self.renderer.render(rows[start : start + self.size], self.size)
        return found

    def draw(self, job: Mapping[str, Any]) -> list[Pixels]:
        """The pictures of a job, in the order of its rows; all must succeed."""
        found = []
        for row in self.rows(job):  # one by one where keys differ; `together` tests batches
            (one,) = self.outcome([row])
            assert isinstance(one, Picture), one
            found.append(one.pixels)
        return found

    def together(self, job: Mapping[str, Any]) -> list[Pixels]:
        """The pictures of a job whose rows have one batch key, in batches."""
        assert len(self.keys(job)) == 1
        found = self.outcome(self.rows(job))
        assert all(isinstance(one, Picture) for one in found), found
        return [one.pixels for one in found if isinstance(one, Picture)]


def scene(**attributes: str) -> scenes.Scene:
    """A large red circle in the center on white, or as asked."""
    given = {"shape": "circle", "color": "red", "background": "white", "size": "large", "place": "center"}
    return scenes.Scene(**{**given, **attributes})


def distance(one: Pixels, other: Pixels) -> float:
    """Root mean square difference of two pictures, 0 to 255."""
    return float(np.sqrt(np.square(one.astype(np.float64) - other).mean()))
