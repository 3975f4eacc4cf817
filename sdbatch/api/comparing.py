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
from sdbatch.sources import decode, files
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
    made = directory.path / line["path"]
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
        sizes = " and ".join(f"{shape[1]} x {shape[0]}" for shape in (before.shape, after.shape))
        return DIFFERENT, f"of another size: {sizes}"
    return result, what + _distance(before, after)


def _distance(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> str:
    apart = np.abs(one.astype(np.int16) - other)
    square = float(np.mean(apart.astype(np.float64) ** 2))
    psnr = f"{10 * math.log10(255**2 / square):.1f} dB" if square else "without end"
    return f"at most {apart.max()} apart of 255, {apart.mean():.3f} in the mean, PSNR {psnr}"


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
