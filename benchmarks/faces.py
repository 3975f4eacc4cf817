"""How many faces are found, by size, turn and what covers them; and how often something is taken for one.

python benchmarks/faces.py [--every 4]

Faces are those of scikit-image's `lfw_subset` (Labeled Faces in the Wild, 25 × 25 pixels, from the front), each brought
to a size and set on a grey ground of 200 × 200; one is found where a box is over the middle. Those without a face are
the other half of that set, of 100 pixels on the same ground.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import timing
from numpy.typing import NDArray
from PIL import Image
from skimage import data

from sdbatch.sources import faces

Pixels = NDArray[np.uint8]
GROUND, FACES = 200, 100
DETECTORS = ("centerface", "lbp")


def main() -> None:
    """Measure, and print one JSON object."""
    parser = timing.options(__doc__, rounds=1)
    parser.add_argument("--every", type=int, default=4, help="of the faces, one in so many")
    options = parser.parse_args()
    every = [(np.clip(one, 0, 1) * 255).astype(np.uint8) for one in data.lfw_subset()]
    people, nobody = every[:FACES][:: options.every], every[FACES:][:: options.every]
    ways: Mapping[str, Callable[[Pixels], Pixels]] = {
        **{f"{side} pixels": _sized(side) for side in (100, 50, 25)},
        **{f"turned by {angle}°": _turned(angle) for angle in (30, 45, 90, 180)},
        "the lower half covered": _covered(slice(50, 100), slice(0, 100)),
        "the eyes covered": _covered(slice(25, 50), slice(0, 100)),
        "the left half covered": _covered(slice(0, 100), slice(0, 50)),
    }
    found: list[dict[str, Any]] = []
    for name, way in ways.items():
        line: dict[str, Any] = {"what": name, "faces": len(people)}
        for detector in DETECTORS:
            line[detector] = sum(_middle(faces.find(_rgb(way(one)), detector)) for one in people)
        found.append(line)
    wrong: dict[str, Any] = {"what": "without a face, taken for one", "faces": len(nobody)}
    for detector in DETECTORS:
        wrong[detector] = sum(bool(faces.find(_rgb(_sized(100)(one)), detector)) for one in nobody)
    timing.report("faces", [*found, wrong])


def _sized(side: int) -> Callable[[Pixels], Pixels]:
    def way(face: Pixels) -> Pixels:
        ground = np.full((GROUND, GROUND), 128, np.uint8)
        at = (GROUND - side) // 2
        ground[at : at + side, at : at + side] = np.asarray(
            Image.fromarray(face).resize((side, side), Image.Resampling.BICUBIC)
        )
        return ground

    return way


def _turned(angle: int) -> Callable[[Pixels], Pixels]:
    def way(face: Pixels) -> Pixels:
        ground = Image.fromarray(_sized(100)(face))
        return np.asarray(ground.rotate(angle, Image.Resampling.BICUBIC, fillcolor=128))

    return way


def _covered(rows: slice, columns: slice) -> Callable[[Pixels], Pixels]:
    def way(face: Pixels) -> Pixels:
        large = np.asarray(Image.fromarray(face).resize((100, 100), Image.Resampling.BICUBIC)).copy()
        large[rows, columns] = 128
        return _sized(100)(large)

    return way


def _rgb(grey: Pixels) -> Pixels:
    return np.repeat(grey[..., None], 3, axis=2)


def _middle(found: list[faces.Face]) -> bool:
    """Whether a box is over the picture's middle."""
    half = GROUND / 2
    return any(one.x <= half <= one.x + one.width and one.y <= half <= one.y + one.height for one in found)


if __name__ == "__main__":
    main()
