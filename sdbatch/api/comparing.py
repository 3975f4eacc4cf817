"""Pictures made again, beside what they were."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdbatch.api.reading import Read
from sdbatch.errors import InputError
from sdbatch.sources import decode, files, remote
from sdbatch.store import carried, images
from sdbatch.store.directory import RunDirectory

EXACT, DIFFERENT, INCOMPARABLE, FAILED = "exact", "different", "not comparable", "not made"
_COLUMNS = ("id", "path", "pixel_sha256", "fingerprint", "model_hash")


@dataclass(frozen=True)
class Replayed:
    """One picture, made again.

    Attributes:
        picture: what was asked for.
        tool: who wrote its metadata.
        result: exact (the same pixels), different, not comparable (a lossy or broken file), or not made.
        about: why, or how far apart.
        path: the new picture; None where it was not made.
        same_id, same_fingerprint: whether they are those of the metadata; None where those have none.
        unmapped: key of the metadata → what it holds that has no place here.
    """

    picture: str
    tool: str
    result: str
    about: str
    path: str | None
    same_id: bool | None
    same_fingerprint: bool | None
    unmapped: Mapping[str, str]


@dataclass(frozen=True)
class Distance:
    """How far two pictures of one size are apart, in levels of 255.

    Attributes:
        psnr: dB; None where they are the same.
    """

    max: int
    mean: float
    psnr: float | None

    def __str__(self) -> str:
        psnr = "without end" if self.psnr is None else f"{self.psnr:.1f} dB"
        return f"at most {self.max} apart of 255, {self.mean:.3f} in the mean, PSNR {psnr}"


def apart(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> Distance:
    """Compare two pictures of one shape, (h, w, 3) uint8."""
    levels = np.abs(one.astype(np.int16) - other)
    square = float(np.mean(levels.astype(np.float64) ** 2))
    return Distance(int(levels.max()), float(levels.mean()), 10 * math.log10(255**2 / square) if square else None)


def sizes(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> str:
    """The sizes of two pictures, for a message."""
    return " and ".join(f"{shape[1]} x {shape[0]}" for shape in (one.shape, other.shape))


def compare(directory: RunDirectory, reads: Iterable[tuple[Read, str]]) -> list[Replayed]:
    """Look up what a run made of each picture, which comes with its row key, and compare the pixels."""
    manifest = directory.manifest()
    lines = {line["row"]: line for line in manifest.read([*_COLUMNS, "row"]).to_pylist()}
    failed = {line["row"]: f"{line['error']}: {line['message']}" for line in manifest.failures().to_pylist()}
    return [_compared(directory, read, lines.get(row), failed.get(row, "not reached")) for read, row in reads]


def _compared(directory: RunDirectory, read: Read, line: Mapping[str, Any] | None, why: str) -> Replayed:
    own, picture = read.found.own, files.show(read.picture)
    if line is None:
        return Replayed(picture, read.found.tool, FAILED, why, None, None, None, read.found.unmapped)
    alike = [own[key] == line[key] if own.get(key) else None for key in ("id", "fingerprint")]
    made = remote.present(directory.path / line["path"])
    result, about = _pixels(read.picture, made, line["pixel_sha256"])
    if result != EXACT:
        about = "; ".join([about, *_reasons(own, line, alike)])
    return Replayed(picture, read.found.tool, result, about, str(made), alike[0], alike[1], read.found.unmapped)


def _pixels(picture: Path, made: Path, sha256: str) -> tuple[str, str]:
    try:
        before = decode.decode(picture).colours
        if images.pixel_sha256(before) == sha256:
            return EXACT, "the same pixels"
        after = decode.decode(made).colours
        lossless = carried.lossless(picture)
    except InputError as error:
        return INCOMPARABLE, str(error)
    result, what = (DIFFERENT, "") if lossless else (INCOMPARABLE, "a lossy file; ")
    if before.shape != after.shape:
        return DIFFERENT, f"of another size: {sizes(before, after)}"
    return result, what + str(apart(before, after))


def _reasons(own: Mapping[str, str], line: Mapping[str, Any], alike: Sequence[bool | None]) -> list[str]:
    """Why sdbatch's own picture may have come out otherwise."""
    reasons = []
    if own.get("model_hash") and own["model_hash"] != line["model_hash"]:
        reasons.append("the model is another than it was made with")
    elif alike[0] is False:
        reasons.append("a parameter or an input is another than it was made with")
    if alike[1] is False:
        reasons.append(
            f"made another way (fingerprint {files.show(own['fingerprint'][:20])} then, {line['fingerprint']} here): "
            "other versions, settings or another kind of device"
        )
    return reasons
