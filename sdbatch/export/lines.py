"""What is exported: the manifest's lines in a fixed order, with their pictures, and where files go."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa

from sdbatch.errors import InputError, StoreError
from sdbatch.modes import SCORE
from sdbatch.parameters import PARAMETERS
from sdbatch.sources import pictures
from sdbatch.sources.geometry import Way
from sdbatch.store import images
from sdbatch.store.base import Store

SUMS = "checksums.sha256"
"""The file that names every other one with its sha256, as `sha256sum -c` reads it."""
BOXES = ("boxes", "bbox", "bboxes")
MASK = "object_mask"
"""The column that names a picture, white where the object is, as recipe augment writes it."""
_FREE = "field_"


@dataclass(frozen=True)
class Mask:
    """The mask of a line's object.

    Attributes:
        name: of its picture, from where the run's rows name pictures.
        beside: of the parent, from there too.
        way: how the parent was brought to the picture's size; None where it was not.
    """

    name: str
    beside: str
    way: Way | None


@dataclass(frozen=True)
class Line:
    """One picture to export.

    Attributes:
        key: the row's key, which orders lines and names files.
        path: in the run directory.
        split: `train` where the data set names none.
        columns: what travels with the picture: label, caption, boxes in the picture's own pixels, and so on.
    """

    key: str
    path: str
    split: str
    columns: Mapping[str, Any]
    mask: Mask | None = None

    @property
    def suffix(self) -> str:
        """Such as `.png`."""
        return PurePosixPath(self.path).suffix

    @property
    def name(self) -> str:
        """The file's name in a data set."""
        return f"{self.key}{self.suffix}"


class Target:
    """Where a data set is written: a file that is there and is the same stays, so that an export goes on where it was.

    Args:
        source: the run directory.
        store: the folder of the data set.
        per_shard: pictures a shard.
        find: where what a line's mask names is.
    """

    def __init__(self, source: Store, store: Store, per_shard: int, find: Callable[[Mask], Path]) -> None:
        self._source, self._store, self.per_shard, self._find = source, store, per_shard, find
        self.sums: dict[str, str] = {}
        self.written = 0

    def picture(self, line: Line) -> bytes:
        """A picture's file.

        Raises:
            StoreError: it is gone, or another than was recorded.
        """
        data = self._source.read(line.path)
        if data is None:
            raise StoreError(f"{self._source.shown(line.path)}: in the manifest, but not there; see sdbatch fsck")
        if hashlib.sha256(data).hexdigest() != line.columns["file_sha256"]:
            raise StoreError(f"{self._source.shown(line.path)}: is not the file that was recorded; see sdbatch fsck")
        return data

    def mask(self, line: Line) -> bytes | None:
        """A PNG of where the object is, white, at the picture's size; None where nothing marks it.

        Raises:
            StoreError: the mask cannot be read.
        """
        if line.mask is None:
            return None
        try:
            grey = pictures.read(self._find(line.mask)).mean(axis=2).round().astype(np.uint8)
        except InputError as error:
            raise StoreError(f"{MASK}: {error}") from error
        way = line.mask.way
        fitted = grey if way is None else pictures.fit(grey, *way.after, way.fit, "nearest")
        return images.plain("mask", fitted)

    def put(self, path: str, data: bytes) -> None:
        """Write a file, unless it is there."""
        self.sums[path] = hashlib.sha256(data).hexdigest()
        if self._store.read(path) != data:
            self._store.replace(path, data)
            self.written += 1

    def shards(self, lines: Sequence[Line]) -> Iterator[tuple[str, int, int, Sequence[Line]]]:
        """(split, number, how many of that split there are, lines) of each shard."""
        for split in sorted({line.split for line in lines}):
            here = [line for line in lines if line.split == split]
            count = -(-len(here) // self.per_shard)
            for number in range(count):
                yield split, number, count, here[number * self.per_shard : (number + 1) * self.per_shard]


def lines(table: pa.Table) -> list[Line]:
    """The lines of a manifest that have pictures of their own, ordered by row key.

    Args:
        table: all columns.
    """
    kept = (line for line in table.to_pylist() if line["mode"] != SCORE)
    return sorted((_line(line) for line in kept), key=lambda line: line.key)


def _line(line: Mapping[str, Any]) -> Line:
    free = {name.removeprefix(_FREE): value for name, value in line.items() if name.startswith(_FREE)}
    split, mask = free.pop("split", None) or "train", free.pop(MASK, None)
    columns: dict[str, Any] = {name: _plain(name, value) for name, value in free.items() if value is not None}
    way = _way(line, free)
    for name, move in _MOVED.items():
        if way is not None and isinstance(columns.get(name), list):
            columns[name] = move(way, columns[name])
    said = ("id", "parent_id", "mode", "prompt", "seed", "seed_used", "strength", "width", "height", "file_sha256")
    columns |= {name: line[name] for name in said if line[name] is not None}
    named = line["image"] or line["control_image"]
    return Line(line["row"], line["path"], split, columns, Mask(mask, named, way) if mask and named else None)


def _plain(name: str, value: str) -> Any:
    """A free column's value: lists and mappings travel as JSON text."""
    if value[:1] in "[{" and name not in PARAMETERS:
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def _way(line: Mapping[str, Any], free: Mapping[str, Any]) -> Way | None:
    """How the parent was brought to the picture's size; None where it was not, or where that is not known."""
    if free.get("parent_width") is None or not line["width"] or line["padding_mask_crop"] is not None:
        return None
    before = int(free["parent_width"]), int(free["parent_height"])
    return Way(before, (int(line["width"]), int(line["height"])), line["fit"] or "resize")


def _boxes(way: Way, boxes: list[Any]) -> list[Any]:
    """Boxes [x, y, width, height], or one; those that were cut off are null."""
    if _numbers(boxes, 4):
        return list(way.box(boxes) or [])
    return [way.box(box) if _numbers(box, 4) else box for box in boxes]


def _outlines(way: Way, given: list[Any]) -> list[Any]:
    """Polygons, in lists of any depth: those that were cut off are gone; what is no polygon stays."""
    if given and all(isinstance(one, (int, float)) for one in given):
        return (way.outline(given) or []) if len(given) >= 6 and len(given) % 2 == 0 else given
    moved = [_outlines(way, one) if isinstance(one, list) else one for one in given]
    flat = [isinstance(one, list) and bool(one) and not isinstance(one[0], (list, dict)) for one in given]
    return [one for one, is_flat in zip(moved, flat, strict=True) if one or not is_flat]


def _keypoints(way: Way, given: list[Any]) -> list[Any]:
    if given and all(isinstance(one, (int, float)) for one in given):
        return way.keypoints(given) if len(given) % 3 == 0 else given
    return [_keypoints(way, one) if isinstance(one, list) else one for one in given]


def _numbers(given: Any, count: int) -> bool:
    return isinstance(given, list) and len(given) == count and all(isinstance(one, (int, float)) for one in given)


_MOVED: Mapping[str, Callable[[Way, list[Any]], list[Any]]] = {
    **dict.fromkeys(BOXES, _boxes), "segmentation": _outlines, "keypoints": _keypoints,
}  # fmt: skip
"""Columns that say where something is, in the parent's pixels."""
