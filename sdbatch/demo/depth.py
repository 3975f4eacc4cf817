"""Depth in the demo world: what is nearer, and by how much. Known exactly, so that an estimator can be held to it.

The ground is a plane that comes nearer from the top of the picture to its bottom, as a floor does;
the figure stands upright before it, the nearer the larger it is. Like MiDaS and the DPT models that
descend from it, depth here means nearness (inverse depth up to scale): larger is nearer.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sdbatch.demo import scenes
from sdbatch.demo.scenes import Scene

FAR, NEAR_GROUND = 0.10, 0.40
"""Nearness of the ground at the picture's top and at its bottom."""
_LEAST, _PER_RADIUS = 0.35, 0.60 / 22.5  # the largest figure has a radius of 22.6 pixels


def ground() -> NDArray[np.float32]:
    """Nearness of the ground: (64, 64) float32, 0.10 at the top to 0.40 at the bottom."""
    down = np.linspace(FAR, NEAR_GROUND, scenes.SIDE, dtype=np.float32)
    return np.repeat(down[:, None], scenes.SIDE, axis=1)


def figure(scene: Scene) -> float:
    """Nearness of the figure: about 0.64 for small ones, 0.78 for medium and 0.92 for large ones."""
    return _LEAST + _PER_RADIUS * scene.radius


def truth(scene: Scene) -> NDArray[np.float32]:
    """Nearness of every pixel: (64, 64) float32 in 0.1 to 1. A pixel belongs to what covers most of it."""
    inside = scenes.coverage(scene) >= 0.5
    return np.where(inside, np.float32(figure(scene)), ground()).astype(np.float32)
