"""The demo world: one shape on a plain background, and the captions that describe it.

A scene has five attributes. Pictures are 64 x 64 sRGB, drawn by testing 4 x 4 points a pixel
against an implicit shape and averaging, with soft light across shape and background, so that a
model has something to learn and a judge has an exact truth to compare with.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SIDE = 64
SUPERSAMPLE = 4

SHAPES = ("circle", "square", "triangle", "star", "cross", "ring", "heart", "moon")
COLORS: dict[str, tuple[int, int, int]] = {
    "red": (214, 40, 44),
    "green": (38, 160, 70),
    "blue": (44, 84, 214),
    "yellow": (246, 214, 42),
    "purple": (138, 52, 178),
    "orange": (246, 130, 26),
    "white": (244, 244, 244),
    "black": (22, 22, 22),
}
BACKGROUNDS = tuple(COLORS)
SIZES: dict[str, float] = {"small": 11.0, "medium": 16.0, "large": 21.5}  # radius in pixels
PLACES: dict[str, tuple[int, int]] = {  # direction from the centre, x to the right, y down
    "left": (-1, 0),
    "right": (1, 0),
    "top": (0, -1),
    "bottom": (0, 1),
    "center": (0, 0),
}
ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "shape": SHAPES,
    "color": tuple(COLORS),
    "size": tuple(SIZES),
    "place": tuple(PLACES),
    "background": BACKGROUNDS,
}

_SIZE_WORDS = {"small": ("small", "little"), "medium": ("medium", "medium-sized"), "large": ("large", "big")}
_PLACE_WORDS = {
    "left": ("on the left", "on the left side", "to the left"),
    "right": ("on the right", "on the right side", "to the right"),
    "top": ("at the top", "near the top", "on top"),
    "bottom": ("at the bottom", "near the bottom", "below"),
    "center": ("in the center", "in the middle", "in the centre"),
}


@dataclass(frozen=True)
class Scene:
    """One scene: its five attributes, and the small variations that no caption names.

    Attributes:
        dx, dy: shift of the centre, pixels, within +-1.5.
        scale: factor on the radius, within 0.95 to 1.05.
        light: direction of the light, radians.
    """

    shape: str
    color: str
    size: str
    place: str
    background: str
    dx: float = 0.0
    dy: float = 0.0
    scale: float = 1.0
    light: float = 0.9

    @property
    def radius(self) -> float:
        """Radius of the circle that holds the shape, in pixels."""
        return SIZES[self.size] * self.scale

    @property
    def center(self) -> tuple[float, float]:
        """Centre of the shape in pixels, from the top left corner."""
        way_x, way_y = PLACES[self.place]
        reach = SIDE / 2 - SIZES[self.size] * 1.05 - 1.0
        return SIDE / 2 + way_x * reach + self.dx, SIDE / 2 + way_y * reach + self.dy


def held_out(color: str, shape: str, background: str) -> bool:
    """Whether this combination is kept out of training (56 of 448, spread over every value)."""
    names = tuple(COLORS)
    index = names.index(color) + 3 * SHAPES.index(shape) + 5 * names.index(background)
    return color != background and index % 8 == 0


def sample(rng: np.random.Generator, *, held: bool | None = False) -> Scene:
    """Draw a scene.

    Args:
        rng: where every choice comes from.
        held: False draws from the training combinations, True from those held out, None from all.
    """
    names = tuple(COLORS)
    while True:
        color, background = names[rng.integers(8)], names[rng.integers(8)]
        shape = SHAPES[rng.integers(8)]
        if color != background and (held is None or held_out(color, shape, background) == held):
            break
    dx, dy = rng.uniform(-1.5, 1.5, 2)
    return Scene(
        shape=shape,
        color=color,
        size=tuple(SIZES)[rng.integers(len(SIZES))],
        place=tuple(PLACES)[rng.integers(len(PLACES))],
        background=background,
        dx=float(dx),
        dy=float(dy),
        scale=float(rng.uniform(0.95, 1.05)),
        light=float(rng.uniform(0, 2 * np.pi)),
    )


def render(scene: Scene) -> NDArray[np.uint8]:
    """Draw a scene: (64, 64, 3) uint8 sRGB."""
    inside = coverage(scene)[..., None]
    x, y = _pixel_centers()
    across = (x - SIDE / 2) / SIDE * np.cos(scene.light) + (y - SIDE / 2) / SIDE * np.sin(scene.light)
    center_x, center_y = scene.center
    lit = ((x - center_x) * np.cos(scene.light) + (y - center_y) * np.sin(scene.light)) / scene.radius
    ground = np.array(COLORS[scene.background], np.float32) * (1 + 0.10 * across[..., None])
    figure = np.array(COLORS[scene.color], np.float32) * (1 + 0.09 * np.clip(lit, -1, 1)[..., None])
    mixed = inside * figure + (1 - inside) * ground
    return np.clip(np.rint(mixed), 0, 255).astype(np.uint8)


def coverage(scene: Scene) -> NDArray[np.float32]:
    """The share of each pixel that the shape covers: (64, 64) float32 in 0 to 1."""
    n = SIDE * SUPERSAMPLE
    at = (np.arange(n, dtype=np.float32) + 0.5) / SUPERSAMPLE
    center_x, center_y = scene.center
    u = ((at - center_x) / scene.radius).astype(np.float32)[None, :]
    v = (-(at - center_y) / scene.radius).astype(np.float32)[:, None]
    hit = _inside(scene.shape, u, v).astype(np.float32)
    return hit.reshape(SIDE, SUPERSAMPLE, SIDE, SUPERSAMPLE).mean((1, 3), dtype=np.float32)


def caption(scene: Scene, rng: np.random.Generator | None = None, *, without: Collection[str] = ()) -> str:
    """Describe a scene; without rng in full and in the plain wording, else varied and often in part.

    One caption in ten names a single attribute, so that "red" alone is understood, as a negative prompt too.

    Args:
        without: attributes that are never named.
    """
    if rng is None:
        return _sentence(scene, 0, {name: 0 for name in ATTRIBUTES if name not in without})
    if rng.random() < 0.10:
        only = ("color", "shape", "background", "color")[rng.integers(4)]
        form, said = int(rng.integers(2)), {only: 0}
    else:
        drop = {"size": 0.25, "color": 0.10, "shape": 0.10, "place": 0.22, "background": 0.18}
        said = {name: int(rng.integers(8)) for name, chance in drop.items() if rng.random() >= chance}
        form = int(rng.integers(5))
    return _sentence(scene, form, {name: value for name, value in said.items() if name not in without})


def vocabulary() -> Iterator[str]:
    """Texts that hold every word of the full captions, for training the tokenizer."""
    for shape in SHAPES:
        for color in COLORS:
            for size in SIZES:
                for place in PLACES:
                    scene = Scene(shape, color, size, place, color)
                    for form in range(5):
                        yield _sentence(
                            scene, form, dict.fromkeys(("size", "color", "shape", "place", "background"), form)
                        )


def _sentence(scene: Scene, form: int, said: dict[str, int]) -> str:
    """Put the attributes named in `said` into sentence pattern `form`; values pick the wording."""
    size = _pick(_SIZE_WORDS[scene.size], said.get("size"))
    color = scene.color if "color" in said else ""
    noun = scene.shape if "shape" in said else ("" if form == 1 else "shape")
    place = _pick(_PLACE_WORDS[scene.place], said.get("place"))
    ground = f"{scene.background} background" if "background" in said else ""
    thing = " ".join(word for word in (size, color, noun) if word)
    if form == 1:  # tags
        return ", ".join(part for part in (thing, ground, place) if part)
    thing = _article(thing)
    ground = _article(ground) if ground else ""
    if form == 2:
        parts = [f"a picture of {thing}", place, f"in front of {ground}" if ground else ""]
    elif form == 3 and ground:
        parts = [f"{ground} with {thing}", place]
    elif form == 4:
        parts = [thing, f"on {ground}" if ground else "", place]
    else:
        parts = [thing, place, f"on {ground}" if ground else ""]
    return " ".join(part for part in parts if part)


def _article(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _pick(words: tuple[str, ...], index: int | None) -> str:
    return "" if index is None else words[index % len(words)]


def _pixel_centers() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    at = np.arange(SIDE, dtype=np.float32) + 0.5
    return at[None, :], at[:, None]


def _inside(shape: str, u: NDArray[np.float32], v: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Whether points lie in a shape that fits the unit circle; v points up."""
    r2 = u * u + v * v
    if shape == "circle":
        return r2 <= 0.92**2
    if shape == "square":
        return np.maximum(np.abs(u), np.abs(v)) <= 0.80
    if shape == "triangle":
        return _polygon(u, v, [(0.0, 0.98), (-0.95, -0.72), (0.95, -0.72)])
    if shape == "star":
        return _star(u, v)
    if shape == "cross":
        a, b = np.abs(u), np.abs(v)
        return ((a <= 0.30) & (b <= 0.92)) | ((b <= 0.30) & (a <= 0.92))
    if shape == "ring":
        return (r2 <= 0.96**2) & (r2 >= 0.55**2)
    if shape == "heart":  # the algebraic heart (x^2 + y^2 - 1)^3 = x^2 y^3, scaled to fit
        x, y = u * 1.22, v * 1.22 + 0.12
        return (x * x + y * y - 1) ** 3 - x * x * y**3 <= 0
    if shape == "moon":
        return (r2 <= 0.96**2) & ((u - 0.42) ** 2 + (v - 0.16) ** 2 >= 0.74**2)
    raise ValueError(f"no such shape: {shape!r}; one of {', '.join(SHAPES)}")


def _polygon(u: NDArray[np.float32], v: NDArray[np.float32], corners: list[tuple[float, float]]) -> NDArray[np.bool_]:
    """Whether points lie in a convex polygon whose corners run anticlockwise."""
    hit = np.ones(np.broadcast_shapes(u.shape, v.shape), bool)
    for (ax, ay), (bx, by) in zip(corners, corners[1:] + corners[:1], strict=True):
        hit &= (bx - ax) * (v - ay) - (by - ay) * (u - ax) >= 0
    return hit


def _star(u: NDArray[np.float32], v: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Five points: each tenth of the turn is bounded by one straight edge from tip to notch."""
    radius = np.hypot(u, v)
    angle = np.arctan2(u + 0 * v, v + 0 * u)  # 0 points up
    turn = 2 * np.pi / 5
    fold = np.abs((angle + turn / 2) % turn - turn / 2)
    outer, inner = 1.0, 0.44
    x, y = radius * np.cos(fold), radius * np.sin(fold)
    notch_x, notch_y = inner * np.cos(turn / 2), inner * np.sin(turn / 2)
    return (notch_x - outer) * y - notch_y * (x - outer) >= 0
