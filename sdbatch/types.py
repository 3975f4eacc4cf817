"""The frozen types that pass from room to room."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

DROPPED = "DroppedError"
"""The error class of rows that a recipe's guard dropped: they are settled, though there is no picture."""
Record = dict[str, Any]
"""One line of the manifest, by column name."""


@dataclass(frozen=True, slots=True)
class Row:
    """One picture to make.

    Attributes:
        id: which picture (20 hex digits).
        row: which line: id, stage and free columns (20 hex digits).
        path: where the picture goes, relative to the run directory, with `/`.
        params: every parameter by name, defaults filled in, templates filled.
        fields: the free columns, as text.
        templates: the prompts as written, before anything was picked or filled in, by parameter.
    """

    id: str
    row: str
    stage: str
    path: str
    params: Mapping[str, Any]
    fields: Mapping[str, str | None]
    templates: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Render:
    """How pictures are made: everything outside the `id` that may change bits, resolved (no `auto` left)."""

    batch_size: int
    threads: int
    dtype: str
    device: str
    attention: str
    compile: bool
    vae_tiling: bool
    vram: str
    oom: str


@dataclass(frozen=True, slots=True)
class Signing:
    """With what pictures are signed.

    Attributes:
        cert: path of the certificate chain, the signer's first, in PEM; relative to the spec.
        key: path of its private key, in PEM; relative to the spec.
    """

    cert: str
    key: str


@dataclass(frozen=True, slots=True)
class Output:
    """What is written.

    Attributes:
        dir: run directory, relative to the spec; None means `runs/NAME`.
        filename: template of a name without extension.
        format: png, webp or jpeg.
        quality: 1 to 100 for jpeg, and for webp (100 is lossless); None is the format's default.
        watermark: a text to hide in each picture.
        safety: off, flag or drop: what the verdict of a model's own safety checker does. A key of its own in the spec.
        c2pa: with what pictures are signed.
    """

    dir: str | None = None
    filename: str = "{id}"
    format: str = "png"
    quality: int | None = None
    save: tuple[str, ...] = ()
    watermark: str | None = None
    safety: str = "off"
    c2pa: Signing | None = None


@dataclass(frozen=True, slots=True)
class Lease:
    """What a worker holds at a time: rows of one batch key; rows alike in `id` stand side by side.

    Attributes:
        cell: which of the plan's batch keys it is.
        batches: pipeline calls that its pictures take.
    """

    number: int
    rows: tuple[Row, ...]
    attempt: int = 1
    cell: int = 0
    batches: int = 0


@dataclass(frozen=True, slots=True)
class Failure:
    """One failed attempt at a row.

    Attributes:
        attempt: counted from 1; 0 where a worker died with other rows in hand, and none can be blamed.
        error: the error's class.
        where: host or actor.
    """

    id: str
    row: str
    attempt: int
    error: str
    message: str
    when: str
    where: str


@dataclass(frozen=True, slots=True)
class LeaseResult:
    """What came of a lease: records of the rows made, failures of those not, rows left when stopped."""

    lease: Lease
    records: tuple[Record, ...] = ()
    failures: tuple[Failure, ...] = ()
    left: tuple[Row, ...] = ()
    worker: Mapping[str, Any] = field(default_factory=dict)

    @property
    def failed(self) -> int:
        """How many rows were not made; a row that failed twice is one, and one that was made then is none."""
        return len({failure.row for failure in self.failures} - {record["row"] for record in self.records} - self._out)

    @property
    def dropped(self) -> int:
        """How many rows a guard dropped."""
        return len(self._out)

    @property
    def _out(self) -> set[str]:
        return {failure.row for failure in self.failures if failure.error == DROPPED}
