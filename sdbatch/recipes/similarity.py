"""A guard: a picture must be like its parent, and must not be its copy."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sdbatch.errors import DroppedError
from sdbatch.recipes.base import Pixels, Region, Verdict, again
from sdbatch.sources import pictures
from sdbatch.spec.problems import Problems, show, unknown
from sdbatch.types import Row

TRIES = 4
BITS = 64
"""Of a perceptual hash."""
_KEYS = ("ssim", "clip", "clip_model", "tries")
Band = tuple[float, float]


@dataclass(frozen=True)
class Similarity:
    """Two bands.

    Attributes:
        ssim: least and most structural similarity (Wang et al., 2004) of a picture and its parent; None asks for none.
        clip: least and most cosine between CLIP's embeddings of both; None asks for none.
        tries: how often a row is made at most.
        distinct: bits in which the perceptual hashes of one parent's pictures must differ; 0 asks for none. What is
            nearer is told when all are made: see `duplicates`.
    """

    ssim: Band | None = None
    clip: Band | None = None
    clip_model: str | None = None
    tries: int = TRIES
    distinct: int = 0
    lost = DroppedError

    def judge(self, made: Pixels, parent: Pixels, clip: float | None, region: Region | None = None) -> Verdict:
        """See `Guard.judge`."""
        ssim = structural(made, parent)
        scores: dict[str, float | str] = {"ssim": ssim}
        if self.distinct:
            scores["phash"] = pictures.perceptual_hash(made)
        if clip is not None:
            scores["clip_parent"] = round(clip, 6)
        for name, band, value in (("ssim", self.ssim, ssim), ("clip", self.clip, clip)):
            if band is None or value is None or band[0] <= value <= band[1]:
                continue
            far = "far from" if value < band[0] else "close to"
            said = f"too {far} its parent: {name} {value:.4f}, allowed are {band[0]:g} to {band[1]:g}"
            return Verdict("again", said, scores)
        return Verdict("keep", "", scores)

    def again(self, row: Row, attempt: int) -> Row:
        """Another seed."""
        return replace(row, params={**row.params, "seed": again(int(row.params["seed"]), attempt)})


def structural(one: Pixels, other: Pixels) -> float:
    """Mean structural similarity over windows of 7 × 7 and three channels, of two pictures of one size."""
    from skimage import metrics

    side = min(7, *one.shape[:2])
    side -= 1 - side % 2  # a window has a middle
    return round(float(metrics.structural_similarity(one, other, win_size=side, channel_axis=2, data_range=255)), 6)


def missing(problems: Problems, key: str) -> None:
    """Note it where what `structural` needs is not installed: before anything is made, not when it is."""
    if importlib.util.find_spec("skimage") is None:
        problems.add((key,), 'compares pictures by scikit-image, which is not installed: pip install "sdbatch[data]"')


def guard(given: Any, distinct: Any, problems: Problems) -> Similarity | None:
    """Read `similarity:` and `distinct:`; None where there is neither."""
    if distinct is not None and (
        not isinstance(distinct, int) or isinstance(distinct, bool) or not 1 <= distinct <= 64
    ):
        problems.add(("distinct",), f"{show(distinct)} is not a number of bits from 1 to 64")
        distinct = None
    if given is not None or distinct is not None:
        missing(problems, "distinct" if given is None else "similarity")
    if given is None:
        return None if distinct is None else Similarity(distinct=distinct)
    if not isinstance(given, dict):
        problems.add(("similarity",), f"{show(given)} is not such as {{ssim: [0.2, 0.95], tries: 4}}")
        return None
    for key in given.keys() - {*_KEYS}:
        problems.add(("similarity", key), unknown(key, _KEYS))
    bands = {name: _band(name, given.get(name), problems) for name in ("ssim", "clip")}
    model, tries = given.get("clip_model"), given.get("tries", TRIES)
    if (bands["clip"] is None) != (model is None):
        problems.add(("similarity",), "clip and clip_model go together: the band, and the model that measures it")
    if model is not None and not isinstance(model, str):
        problems.add(("similarity", "clip_model"), f"{show(model)} is not a model's name")
    if not isinstance(tries, int) or isinstance(tries, bool) or not 1 <= tries <= 100:
        problems.add(("similarity", "tries"), f"{show(tries)} is not a whole number from 1 to 100")
        tries = TRIES
    return Similarity(bands["ssim"], bands["clip"], model, tries, distinct or 0)


def _band(name: str, given: Any, problems: Problems) -> Band | None:
    if given is None:
        return None
    number = isinstance(given, Sequence) and len(given) == 2 and all(
        isinstance(one, (int, float)) and not isinstance(one, bool) for one in given
    )  # fmt: skip
    if not number or not -1 <= given[0] < given[1] <= 1:
        problems.add(("similarity", name), f"{show(given)} is not a band such as [0.2, 0.95], within -1 to 1")
        return None
    return float(given[0]), float(given[1])
