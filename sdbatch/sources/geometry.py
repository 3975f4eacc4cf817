"""Where the boxes, outlines and points of a picture are after it was brought to another size, by each way of `fit`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Box = tuple[float, float, float, float]
"""x, y of the upper left corner, width, height; in pixels."""
Point = tuple[float, float]
DIGITS = 4


@dataclass(frozen=True)
class Way:
    """A picture brought to another size as `pictures.fit` does it: scaled, then moved, then cut.

    Args:
        before, after: width and height of the picture.
        fit: resize, crop, pad or native.

    Raises:
        ValueError: there is no such fit.
    """

    before: tuple[int, int]
    after: tuple[int, int]
    fit: str

    def _numbers(self) -> tuple[float, float, float, float]:
        """Scales across and down, and what is added then."""
        (wide, high), (width, height), fit = self.before, self.after, self.fit
        if self.before == self.after:
            return 1.0, 1.0, 0.0, 0.0
        if fit == "resize":
            return width / wide, height / high, 0.0, 0.0
        if fit == "crop":
            scale = max(width / wide, height / high)
            return scale, scale, (width - wide * scale) / 2, (height - high * scale) / 2
        if fit == "pad":
            scale = min(width / wide, height / high)
            inner = max(1, min(width, round(wide * scale))), max(1, min(height, round(high * scale)))
            left, top = float((width - inner[0]) // 2), float((height - inner[1]) // 2)
            return inner[0] / wide, inner[1] / high, left, top
        if fit == "native":
            return 1.0, 1.0, -float((wide - width) // 2), -float((high - height) // 2)
        raise ValueError(f"fit {fit!r} is not resize, crop, pad or native")

    def point(self, x: float, y: float) -> Point:
        """Where a point is; it may be outside."""
        across, down, left, top = self._numbers()
        return x * across + left, y * down + top

    def box(self, box: Sequence[float]) -> Box | None:
        """A box [x, y, width, height], cut; None where nothing of it is left."""
        x, y, w, h = (float(value) for value in box)
        (left, top), (right, bottom) = self.point(x, y), self.point(x + w, y + h)
        left, top = max(left, 0.0), max(top, 0.0)
        right, bottom = min(right, float(self.after[0])), min(bottom, float(self.after[1]))
        if right <= left or bottom <= top:
            return None
        return round(left, DIGITS), round(top, DIGITS), round(right - left, DIGITS), round(bottom - top, DIGITS)

    def outline(self, flat: Sequence[float]) -> list[float] | None:
        """A polygon [x, y, x, y, ...], cut to the picture; None where nothing of it is left.

        By Sutherland and Hodgman, "Reentrant polygon clipping" (1974): one edge of the picture after the other.
        """
        points = [self.point(float(x), float(y)) for x, y in zip(flat[::2], flat[1::2], strict=True)]
        width, height = (float(side) for side in self.after)
        for axis, edge, sign in ((0, 0.0, 1), (0, width, -1), (1, 0.0, 1), (1, height, -1)):
            points = _cut(points, axis, edge, sign)
        if len(points) < 3 or abs(_area(points)) < 10.0**-DIGITS:
            return None
        return [round(value, DIGITS) for point in points for value in point]

    def keypoints(self, flat: Sequence[float]) -> list[float]:
        """COCO's [x, y, visibility, ...]; those outside become 0, 0, 0."""
        found: list[float] = []
        for x, y, seen in zip(flat[::3], flat[1::3], flat[2::3], strict=True):
            there = self.point(float(x), float(y))
            inside = all(0 <= value <= side for value, side in zip(there, self.after, strict=True))
            found += [*(round(value, DIGITS) for value in there), seen] if seen and inside else [0, 0, 0]
        return found


def moved(box: Sequence[float], before: tuple[int, int], after: tuple[int, int], fit: str) -> Box | None:
    """A box in the picture as `pictures.fit` makes it; see `Way.box`."""
    return Way(before, after, fit).box(box)


def _cut(points: Sequence[Point], axis: int, edge: float, sign: int) -> list[Point]:
    """What of a polygon is on the right side of an edge."""

    def inside(point: Point) -> bool:
        return sign * (point[axis] - edge) >= 0

    found: list[Point] = []
    for one, other in zip(points, [*points[1:], *points[:1]], strict=True):
        if inside(one):
            found.append(one)
        if inside(one) != inside(other):
            share = (edge - one[axis]) / (other[axis] - one[axis])
            found.append((one[0] + share * (other[0] - one[0]), one[1] + share * (other[1] - one[1])))
    return found


def _area(points: Sequence[Point]) -> float:
    pairs = zip(points, [*points[1:], *points[:1]], strict=True)
    return sum(x * v - u * y for (x, y), (u, v) in pairs) / 2
