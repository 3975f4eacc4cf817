"""redact: the masked part of each picture hidden."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sdbatch.render.batch import Batch, Context, Picture
from sdbatch.render.redacting import redacted
from sdbatch.types import Row

Prepared = tuple[NDArray[np.uint8], NDArray[np.bool_]]


def prepare(row: Row, context: Context) -> Prepared:
    """Picture and mask at the picture's own size."""
    name = row.params["image"]
    return context.inputs.original(name), context.inputs.mask(row.params["mask"], name)


def draw(batch: Batch, prepared: Sequence[Prepared]) -> list[Picture]:
    """Each by itself."""
    found = []
    for row, (picture, mask) in zip(batch.rows, prepared, strict=False):
        made = redacted(picture, mask, row.params["redaction"])
        found.append(Picture(made, {"mask": mask * np.uint8(255)}))
    return found
