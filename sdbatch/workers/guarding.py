"""A recipe's guard at work: pictures are judged, made again with other seeds, or dropped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from sdbatch.errors import InputError, RowError
from sdbatch.recipes.base import Guard, Pixels, Verdict, cut
from sdbatch.render.renderer import Renderer
from sdbatch.sources import pictures
from sdbatch.sources.names import Sources
from sdbatch.types import Failure, Row
from sdbatch.workers.writing import Judged, Made

Group = tuple[Row, ...]
Lost = tuple[Row, int, RowError]
"""A row that no attempt made well, how many there were, and why."""
Render = Callable[[Sequence[Group], int], tuple[list[Made], list[Failure]]]
"""Rows alike in id, and the batch shape → pictures, and failures."""


class Guarding:
    """Judges what a worker makes.

    Args:
        render: makes rows again.
    """

    def __init__(self, guard: Guard, sources: Sources, renderer: Renderer, render: Render) -> None:
        self._guard, self._sources, self._renderer, self._render = guard, sources, renderer, render

    def judged(self, made: Sequence[Made], size: int) -> tuple[list[Made], list[Lost], list[Failure]]:
        """Judge pictures; those to be made again are, at the same batch shape, each attempt with a seed of its own.

        Returns:
            pictures that are kept; rows that are dropped, each with its attempts and why; failures of later attempts.
        """
        kept: list[Made] = []
        dropped: list[Lost] = []
        failures: list[Failure] = []
        rows = {one.row.id: (one.row, *one.twins) for one in made}
        waiting, attempt = list(made), 1
        while waiting:
            later: list[Group] = []
            for one in waiting:
                group = rows[one.row.id]
                verdict = self._verdict(one)
                if verdict.outcome == "keep":
                    judged = Judged(attempt, _changed(group[0], one.row), verdict.scores)
                    kept.append(replace(one, row=group[0], twins=group[1:], judged=judged))
                elif verdict.outcome == "again" and attempt < self._guard.tries:
                    later.append(tuple(self._guard.again(row, attempt + 1) for row in group))
                else:
                    error = self._guard.lost(f"{verdict.why}; {attempt} attempts")
                    dropped += [(row, attempt, error) for row in group]
            attempt += 1
            waiting = []
            if later:
                waiting, lost = self._render(later, size)
                failures += lost
        return kept, dropped, failures

    def _verdict(self, one: Made) -> Verdict:
        parent = self._parent(one)
        model = self._guard.clip_model
        made, mask = one.picture.pixels, one.picture.beside.get("mask")
        region = None if mask is None or mask.shape != made.shape[:2] else np.asarray(mask >= 128)
        pair = made, parent
        if region is not None and region.any():
            pair = cut(made, parent, region)
        clip = None if model is None else self._renderer.alike(model, *pair)
        return self._guard.judge(made, parent, clip, region)

    def _parent(self, one: Made) -> Pixels:
        """The picture that a row was made from, at the size of what was made."""
        params = one.row.params
        found = pictures.read(self._sources.inputs.path(params["image"] or params["control_image"]))
        height, width = one.picture.pixels.shape[:2]
        try:
            return pictures.fit(found, width, height, params["fit"] or "resize")
        except InputError:  # smaller than what was made of it
            return pictures.fit(found, width, height, "resize")


def _changed(asked: Row, made: Row) -> dict[str, Any]:
    """The parameters that a later attempt had otherwise, and always the seed."""
    odd = {name: value for name, value in made.params.items() if value != asked.params[name]}
    return {"seed": made.params["seed"], **odd}
