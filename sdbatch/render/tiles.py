"""A picture cut into overlapping tiles of one size, and put together again without a seam."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Tiling:
    """Where the tiles of a canvas lie.

    Attributes:
        lefts, tops: their first columns and rows, ascending.
        width, height: of a tile, in pixels.
        overlap: pixels that neighbours share at least.
    """

    lefts: tuple[int, ...]
    tops: tuple[int, ...]
    width: int
    height: int
    overlap: int

    def boxes(self) -> Iterator[tuple[int, int]]:
        """Top and left of each tile, row by row."""
        for top in self.tops:
            for left in self.lefts:
                yield top, left

    def joined(self, tiles: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """The canvas, (height, width, 3): each pixel the mean of its tiles, weighted down towards their edges."""
        high, wide = self.tops[-1] + self.height, self.lefts[-1] + self.width
        total = np.zeros((high, wide, tiles[0].shape[2]), np.float32)
        weights = np.zeros((high, wide, 1), np.float32)
        weight = np.outer(_ramp(self.height, self.overlap), _ramp(self.width, self.overlap))[..., None]
        for (top, left), tile in zip(self.boxes(), tiles, strict=True):
            place = (slice(top, top + self.height), slice(left, left + self.width))
            total[place] += tile * weight
            weights[place] += weight
        return total / weights


def tiling(width: int, height: int, side: tuple[int, int], overlap: int, multiple: int) -> Tiling:
    """Tiles that cover a canvas.

    Args:
        width, height: of the canvas, multiples of `multiple` and no smaller than a tile.
        side: width and height of a tile, multiples of `multiple`.
        overlap: pixels that neighbours share at least; less than half a tile.
        multiple: tiles begin at multiples of this.
    """
    lefts = _starts(width, side[0], overlap, multiple)
    return Tiling(lefts, _starts(height, side[1], overlap, multiple), *side, overlap)


def _starts(length: int, side: int, overlap: int, multiple: int) -> tuple[int, ...]:
    """First pixels of the fewest tiles that cover `length`, spread evenly."""
    if length <= side:
        return (0,)
    step = max(multiple, side - overlap)
    count = -(-(length - side) // step) + 1
    last = length - side
    return tuple(sorted({round(at * last / (count - 1) / multiple) * multiple for at in range(count)}))


def _ramp(side: int, overlap: int) -> NDArray[np.float32]:
    """Weights along a tile: from near 0 at its ends to 1 `overlap` pixels inwards."""
    edge = np.minimum(np.arange(side), np.arange(side)[::-1]) + 0.5
    return np.clip(edge / max(overlap, 1), 1e-3, 1).astype(np.float32)
