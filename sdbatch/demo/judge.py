"""Read a picture of the demo world back into words.

Colours come from the palette. Shape, size and place come from a small network that sees only how far
each pixel is from the background, so it cannot lean on colour.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from sdbatch.demo import scenes

NOTHING = "none"
WEIGHTS = Path(__file__).parent / "weights" / "judge.safetensors"
HEADS: dict[str, tuple[str, ...]] = {name: scenes.ATTRIBUTES[name] for name in ("shape", "size", "place")}

_BORDER = 2  # pixels
_CHUNK = 128  # pictures read at once: bounds the memory
# The palette's two nearest colours are 86 apart, the light moves a colour by 30 at most: a figure
# whose inside stays below this is no figure. Distances here are Euclidean in sRGB of 0 to 255.
_FAINT = 40.0
_FAINT_PIXELS = 24
_PEAK_PIXELS = 64


@dataclass(frozen=True)
class Reading:
    """What a picture shows, in the words of `scenes`.

    With no figure to be seen, all but the background are "none".
    """

    shape: str
    color: str
    background: str
    size: str
    place: str


class Seen(NamedTuple):
    """What the palette tells of n pictures.

    Attributes:
        ground: index of the background's colour, (n,) int64.
        color: index of the figure's colour, (n,) int64; meaningless where `empty`.
        empty: no figure stands out, (n,) bool.
        figure: distance from the background, 0 at it and about 1 in the figure, (n, 1, 64, 64) float32.
    """

    ground: torch.Tensor
    color: torch.Tensor
    empty: torch.Tensor
    figure: torch.Tensor


class JudgeNet(nn.Module):
    """Shape, size and place from a distance map; about 90,000 parameters."""

    def __init__(self) -> None:
        super().__init__()
        widths = (1, 16, 32, 48, 48)
        layers: list[nn.Module] = []
        for index, (a, b) in enumerate(itertools.pairwise(widths)):
            kernel = 3 if index else 5
            layers += [nn.Conv2d(a, b, kernel, 2, kernel // 2, bias=False), nn.BatchNorm2d(b), nn.ReLU()]
        # Flat, not pooled: the place is where in these 4 x 4 cells the figure lies.
        self.body = nn.Sequential(*layers, nn.Flatten(), nn.Linear(48 * 16, 64), nn.ReLU())
        self.heads = nn.ModuleDict({name: nn.Linear(64, len(values)) for name, values in HEADS.items()})

    def forward(self, figure: torch.Tensor) -> dict[str, torch.Tensor]:
        """(n, 1, 64, 64) float32 to logits by attribute, each (n, number of values)."""
        hidden = self.body(figure)
        return {name: head(hidden) for name, head in self.heads.items()}


def read(pictures: NDArray[np.uint8]) -> list[Reading]:
    """Read pictures.

    Args:
        pictures: (n, 64, 64, 3) uint8 sRGB, or one of (64, 64, 3).

    Returns:
        One reading a picture, in order; the same picture always reads the same.
    """
    if pictures.ndim == 3:
        pictures = pictures[None]
    if pictures.dtype != np.uint8 or pictures.shape[1:] != (scenes.SIDE, scenes.SIDE, 3):
        raise ValueError(f"the judge reads uint8 pictures of 64 x 64 x 3, not {pictures.dtype} of {pictures.shape}")
    return [reading for start in range(0, len(pictures), _CHUNK) for reading in _read(pictures[start : start + _CHUNK])]


def look(pixels: torch.Tensor) -> Seen:
    """Split pictures into background and figure by the palette.

    Args:
        pixels: (n, 3, 64, 64) float32, sRGB of 0 to 255.
    """
    palette = torch.tensor(list(scenes.COLORS.values()), dtype=torch.float32)
    labels = torch.cdist(pixels.permute(0, 2, 3, 1).flatten(1, 2), palette).argmin(2).view(-1, scenes.SIDE, scenes.SIDE)
    border = torch.ones(scenes.SIDE, scenes.SIDE, dtype=torch.bool)
    border[_BORDER:-_BORDER, _BORDER:-_BORDER] = False
    ground = _votes(labels, border.float().expand(len(labels), -1, -1)).argmax(1)
    outside = labels == ground[:, None, None]
    distance = (pixels - _ground_plane(pixels, outside.float())).square().sum(1, keepdim=True).sqrt()
    # The least of the 3 x 3 around: the anti-aliased rim, whose mixed colour may be a third one's
    # (red on yellow has an orange rim), has background beside it and so weighs next to nothing.
    inside = -functional.max_pool2d(-distance, 3, 1, 1)
    weight = inside[:, 0].square().masked_fill(outside, 0.0)
    empty = inside.flatten(1).topk(_FAINT_PIXELS).values.mean(1) < _FAINT
    peak = distance.flatten(1).topk(_PEAK_PIXELS).values.mean(1).clamp_min(_FAINT)
    figure = (distance / peak[:, None, None, None]).clamp_max(1.25)
    return Seen(ground, _votes(labels, weight).argmax(1), empty, figure)


def _ground_plane(pixels: torch.Tensor, outside: torch.Tensor) -> torch.Tensor:
    """The background's light, a plane a channel fitted where `outside` is 1: (n, 3, 64, 64)."""
    at = torch.linspace(-1, 1, scenes.SIDE)
    y, x = torch.meshgrid(at, at, indexing="ij")
    basis = torch.stack([torch.ones_like(x), x, y], -1).flatten(0, 1)
    weight = outside.flatten(1)
    products = (basis[:, :, None] * basis[:, None, :]).flatten(1)
    # A touch of ridge on the slopes keeps a border's worth of pixels, or a line of them, solvable.
    normal = (weight @ products).view(-1, 3, 3) + torch.diag(torch.tensor([1e-3, 5.0, 5.0]))
    right = (pixels.flatten(2) * weight[:, None]) @ basis
    slopes = torch.linalg.solve(normal, right.transpose(1, 2))
    return (basis @ slopes).transpose(1, 2).reshape(pixels.shape)


def _votes(labels: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Weight by palette colour: (n, 8)."""
    return torch.stack([(weight * (labels == index)).sum((1, 2)) for index in range(len(scenes.COLORS))], 1)


@functools.cache
def _network() -> JudgeNet:
    from safetensors.torch import load_file

    network = JudgeNet()
    network.load_state_dict(load_file(str(WEIGHTS)))  # fp16 on disk, copied into float32
    return network.eval()


@torch.inference_mode()
def _read(pictures: NDArray[np.uint8]) -> Iterator[Reading]:
    seen = look(torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float())
    picked = {name: logits.argmax(1).tolist() for name, logits in _network()(seen.figure).items()}
    names = tuple(scenes.COLORS)
    readings = []
    for index, (ground, color) in enumerate(zip(seen.ground.tolist(), seen.color.tolist(), strict=True)):
        told = {name: HEADS[name][picks[index]] for name, picks in picked.items()} | {"color": names[color]}
        if seen.empty[index]:
            told = dict.fromkeys(told, NOTHING)
        readings.append(Reading(background=names[ground], **told))
    return iter(readings)
