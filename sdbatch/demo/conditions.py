"""What the demo world looks like to the models that see more than a prompt: depth, edges, masks, small pictures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sdbatch.demo import scenes
from sdbatch.demo.scenes import SIDE, Scene

FACTOR = 4
"""Of the upscaler."""
CANNY = (100, 200)
"""Thresholds of Canny's edges, sdbatch's own defaults."""


def depth(scene: Scene) -> NDArray[np.float32]:
    """The inverse depth of a scene, (64, 64) float32 in 0 to 1, larger = nearer.

    The ground is a plane that comes nearer towards the bottom, from 0.10 to 0.30; a figure stands upright
    before it, at 0.5 to 1 by its radius.
    """
    ground = 0.10 + 0.20 * (np.arange(SIDE, dtype=np.float32)[:, None] + 0.5) / SIDE
    figure = np.float32(0.5 + 0.5 * (scene.radius - 10) / 13)
    inside = scenes.coverage(scene)
    return (inside * figure + (1 - inside) * ground).astype(np.float32)


def edges(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Canny's edges of a picture: (64, 64) uint8, 0 or 255."""
    import cv2

    return np.asarray(cv2.Canny(np.ascontiguousarray(picture), *CANNY), np.uint8)


def hole(scene: Scene, rng: np.random.Generator) -> NDArray[np.bool_]:
    """A mask to repaint, (64, 64): most often a box about the figure, else a box anywhere, at times all."""
    draw = rng.random()
    if draw < 0.1:
        return np.ones((SIDE, SIDE), bool)
    if draw < 0.75:
        x, y = scene.center
        left, right = x - scene.radius - rng.uniform(1, 10), x + scene.radius + rng.uniform(1, 10)
        top, bottom = y - scene.radius - rng.uniform(1, 10), y + scene.radius + rng.uniform(1, 10)
    else:
        (left, right), (top, bottom) = np.sort(rng.uniform(0, SIDE, (2, 2)), axis=1)
        right, bottom = max(right, left + 8), max(bottom, top + 8)
    mask = np.zeros((SIDE, SIDE), bool)
    mask[max(0, round(top)) : max(0, round(bottom)), max(0, round(left)) : max(0, round(right))] = True
    return mask


def small(pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pictures a quarter as large, each pixel the mean of 4 x 4: (n, 64, 64, 3) → (n, 16, 16, 3)."""
    side = SIDE // FACTOR
    cells = pictures.reshape(len(pictures), side, FACTOR, side, FACTOR, 3).astype(np.float32)
    return np.rint(cells.mean((2, 4))).astype(np.uint8)


@dataclass(frozen=True)
class Window(Scene):
    """A part of a scene drawn four times as large: what the upscaler is to make of a whole picture, piece by piece.

    Attributes:
        left, top: of the 64 x 64 window in the 256 x 256 picture, pixels.
    """

    left: float = 0.0
    top: float = 0.0

    @property
    def radius(self) -> float:
        """Radius of the circle that holds the shape, in pixels of the large picture."""
        return super().radius * FACTOR

    @property
    def center(self) -> tuple[float, float]:
        """Centre of the shape in pixels from the window's top left corner."""
        x, y = super().center
        return x * FACTOR - self.left, y * FACTOR - self.top


def window(scene: Scene, rng: np.random.Generator) -> Window:
    """A window somewhere across the outline of a scene's figure."""
    angle, reach = rng.uniform(0, 2 * np.pi), scene.radius * FACTOR * rng.uniform(0.3, 1.0)
    x, y = (at * FACTOR for at in scene.center)
    most = SIDE * (FACTOR - 1)
    left = float(np.clip(x + reach * np.cos(angle) - SIDE / 2 + rng.uniform(-12, 12), 0, most))
    top = float(np.clip(y + reach * np.sin(angle) - SIDE / 2 + rng.uniform(-12, 12), 0, most))
    return Window(**{**vars(scene), "left": left, "top": top})
