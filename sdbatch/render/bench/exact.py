"""Whether a picture's bits follow from its place in a batch: at one shape they must not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sdbatch.types import Row

Draw = Callable[[Sequence[Row]], tuple[list[NDArray[np.uint8]], torch.Tensor]]
"""Rows of one batch, padded to its shape → their pixels, and what the VAE gave, (shape, 3, height, width)."""


def placements(rows: Sequence[Row], size: int) -> Iterator[tuple[str, list[Row], int]]:
    """Name, rows and place of the first of `rows` in batches of one shape, the first of them the one to compare with.

    Args:
        rows: at least 2 * size, all different.
    """
    row, others, more = rows[0], list(rows[1:size]), list(rows[size : 2 * size])
    yield "alone", [row], 0
    yield "alone, again", [row], 0
    if size > 1:
        yield "first", [row, *others], 0
        yield "last", [*others, row], size - 1
        yield "other neighbours", [row, *more[: size - 1]], 0
    if size > 2:
        yield "in the middle", [*others[: size // 2], row, *others[size // 2 :]], size // 2
        yield "padded", [more[0], row], 1


def compare(rows: Sequence[Row], size: int, draw: Draw) -> dict[str, dict[str, float]]:
    """Placement → largest differences from the same row alone.

    `levels` are of 255, in the pixels; `decoded` is of the range -1 to 1, in what the VAE gave before it was rounded.
    Both are 0 where every bit is the same.
    """
    found: dict[str, dict[str, float]] = {}
    first: tuple[NDArray[np.int16], Any] | None = None
    for name, batch, at in placements(rows, size):
        pixels, decoded = draw(batch)
        one = pixels[at].astype(np.int16), decoded[at].to("cpu", torch.float32)
        if first is None:
            first = one
            continue
        levels = int(np.abs(one[0] - first[0]).max())
        found[name] = {"levels": levels, "decoded": float((one[1] - first[1]).abs().max())}
    return found


def same(found: dict[str, dict[str, float]]) -> bool:
    """Whether every placement gave the same bits."""
    return all(value == 0 for differences in found.values() for value in differences.values())
