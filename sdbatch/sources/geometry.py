"""Where the boxes of a picture are after it was brought to another size, by each way of `fit`."""

from __future__ import annotations

from collections.abc import Sequence

Box = tuple[float, float, float, float]
"""x, y of the upper left corner, width, height; in pixels."""


def moved(box: Sequence[float], before: tuple[int, int], after: tuple[int, int], fit: str) -> Box | None:
    """A box in the picture as `pictures.fit` makes it; None where nothing of it is left.

    Args:
        box: x, y, width, height.
        before, after: width and height of the picture.
        fit: resize, crop, pad or native.
    """
    (wide, high), (width, height) = before, after
    x, y, w, h = (float(value) for value in box)
    if before == after:
        sx = sy = 1.0
        left = top = 0.0
    elif fit == "resize":
        sx, sy, left, top = width / wide, height / high, 0.0, 0.0
    elif fit == "crop":
        sx = sy = max(width / wide, height / high)
        left, top = (width - wide * sx) / 2, (height - high * sy) / 2
    elif fit == "pad":
        scale = min(width / wide, height / high)
        inner = max(1, min(width, round(wide * scale))), max(1, min(height, round(high * scale)))
        sx, sy = inner[0] / wide, inner[1] / high
        left, top = float((width - inner[0]) // 2), float((height - inner[1]) // 2)
    elif fit == "native":
        sx = sy = 1.0
        left, top = -float((wide - width) // 2), -float((high - height) // 2)
    else:
        raise ValueError(f"fit {fit!r} is not resize, crop, pad or native")
    first = max(x * sx + left, 0.0), max(y * sy + top, 0.0)
    last = min((x + w) * sx + left, float(width)), min((y + h) * sy + top, float(height))
    if last[0] <= first[0] or last[1] <= first[1]:
        return None
    return round(first[0], 4), round(first[1], 4), round(last[0] - first[0], 4), round(last[1] - first[1], 4)
