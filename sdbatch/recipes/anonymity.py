"""A guard: nobody may be found in a picture any more, nor be like who was there; else more is done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sdbatch.errors import WithheldError
from sdbatch.parameters import PARAMETERS
from sdbatch.recipes.base import Pixels, Region, Verdict, again, cut
from sdbatch.recipes.similarity import structural
from sdbatch.types import Row

FALLBACKS = ("blur", "pixelate", "fill")


@dataclass(frozen=True)
class Unrecognised:
    """What is looked for in what was made.

    Attributes:
        detector, threshold: as `faces.find` has them.
        models: attempts with the model; one more hides without it.
        fallback: how that one hides.
        new_faces: a face may be there, if it is not like who was there.
        looks: whether faces are looked for; else only likeness counts.
        clip_model: what measures likeness, of the hidden parts' boxes; None measures none.
        most: the most likeness.
    """

    detector: str
    threshold: float
    models: int
    fallback: str
    new_faces: bool = False
    looks: bool = True
    clip_model: str | None = None
    most: float | None = None

    lost = WithheldError

    @property
    def tries(self) -> int:
        """Attempts in all."""
        return self.models + 1

    def judge(self, made: Pixels, parent: Pixels, clip: float | None, region: Region | None) -> Verdict:
        """See `Guard.judge`."""
        from sdbatch.sources import faces

        scores: dict[str, float | str] = {}
        if region is not None and region.any():
            scores["region_ssim"] = structural(*cut(made, parent, region))
        if clip is not None:
            scores["likeness"] = round(clip, 6)
        there = faces.find(made, self.detector, self.threshold) if self.looks else []
        scores["faces"] = float(len(there))
        if there and not self.new_faces:
            return Verdict("again", f"{len(there)} faces are still found", scores)
        if clip is not None and self.most is not None and clip > self.most:
            return Verdict("again", f"is like who was there: {clip:.4f}, at most {self.most:g}", scores)
        return Verdict("keep", "", scores)

    def again(self, row: Row, attempt: int) -> Row:
        """More strength and another seed; at last no model at all."""
        if attempt > self.models:
            plain = {
                "mode": "redact",
                "redaction": self.fallback,
                "model": PARAMETERS["model"].default,
                "revision": None,
            }
            return replace(row, params={**row.params, **plain})
        changed: Mapping[str, Any] = {"seed": again(int(row.params["seed"]), attempt), "strength": 1.0}
        return replace(row, params={**row.params, **changed, "masked_content": "fill"})
