"""What a worker is told; apart from the worker, so that who gives out work need not import what renders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sdbatch.types import Output, Render

if TYPE_CHECKING:
    from sdbatch.recipes.base import Guard  # and with it what reads pictures
    from sdbatch.sources.hidden import Hidden


@dataclass(frozen=True, slots=True)
class Task:
    """What a worker is told once: where and how, the same for every lease of a run.

    Attributes:
        directory: as `remote.sent` has it, and so are `base`, `home`, `within` and `parents`.
        memory: the device's memory in GiB, which the batch table reads.
        base: relative model folders start here.
        pins: the commits of hub models.
        home: where fine-tunes are looked for by name; None is `base`.
        within: links in inputs lead no further than from here; None is `base`.
        parents: the run directory with the pictures of earlier stages; None is `directory`.
        hidden: inputs that go by other names.
        guard: a recipe's, that judges each picture.
    """

    run: str
    directory: Path
    base: Path
    render: Render
    output: Output
    memory: int
    pins: Mapping[str, str | None]
    home: Path | None = None
    within: Path | None = None
    parents: Path | None = None
    guard: Guard | None = None
    hidden: Hidden | None = None
