"""Model shapes to measure: full-size architectures, by their configurations alone; no weights are read or fetched."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sdbatch.errors import UsageError
from sdbatch.sources.models import EMBEDDED, Model
from sdbatch.sources.vocabulary import CONFIGS


@dataclass(frozen=True, slots=True)
class Shape:
    """An architecture.

    Attributes:
        config: a diffusers folder, of which only the configurations are read.
        kind: as `Model.kind`.
        side: width and height in pixels that its weights are made for.
        prediction: in place of what the folder says; None leaves that.
    """

    config: Path
    kind: str
    side: int
    prediction: str | None = None


SHAPES: Mapping[str, Shape] = {
    "sd15": Shape(CONFIGS / "sd1", "sd", 512),
    "sd21": Shape(CONFIGS / "sd2", "sd", 768, "v_prediction"),
    "sdxl": Shape(CONFIGS / "sdxl", "sdxl", 1024),
    "demo": Shape(EMBEDDED / "demo", "sd", 64),
}
"""By the names of `bench --model-shape`; `demo` is the embedded model's, small enough to try the command with."""


def model(name: str) -> Model:
    """A shape as if it were a model found on this machine, named after it.

    Raises:
        UsageError: there is no such shape.
    """
    if name not in SHAPES:
        raise UsageError(f"model shape {name!r}: there are {', '.join(SHAPES)}")
    shape = SHAPES[name]
    digest = hashlib.sha256(b"sdbatch-shape-1 " + name.encode()).hexdigest()
    return Model(f"shape-{name}", shape.config, None, shape.kind, digest, (shape.side, shape.side), {}, "diffusers")
