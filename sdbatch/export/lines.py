"""What is exported: the manifest's lines in a fixed order, with their pictures, and where files go."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa

from sdbatch.errors import StoreError
from sdbatch.modes import SCORE
from sdbatch.parameters import PARAMETERS
from sdbatch.sources.geometry import moved
from sdbatch.store.base import Store

SUMS = "checksums.sha256"
"""The file that names every other one with its sha256, as `sha256sum -c` reads it."""
BOXES = ("boxes", "bbox", "bboxes")
_FREE = "field_"


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
    """

    def __init__(self, source: Store, store: Store, per_shard: int) -> None:
        self._source, self._store, self.per_shard = source, store, per_shard
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
    split = free.pop("split", None) or "train"
    columns: dict[str, Any] = {name: _plain(name, value) for name, value in free.items() if value is not None}
    for name in BOXES:
        if isinstance(columns.get(name), list):
            columns[name] = _boxes(columns[name], line, free)
    said = ("id", "parent_id", "mode", "prompt", "seed", "seed_used", "strength", "width", "height", "file_sha256")
    columns |= {name: line[name] for name in said if line[name] is not None}
    return Line(line["row"], line["path"], split, columns)


def _plain(name: str, value: str) -> Any:
    """A free column's value: lists and mappings travel as JSON text."""
    if value[:1] in "[{" and name not in PARAMETERS:
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def _boxes(boxes: list[Any], line: Mapping[str, Any], free: Mapping[str, Any]) -> list[Any]:
    """Boxes [x, y, width, height] of the parent in the picture's own pixels; those that were cut off are null."""
    if free.get("parent_width") is None or not line["width"]:
        return boxes
    before = int(free["parent_width"]), int(free["parent_height"])
    after = int(line["width"]), int(line["height"])
    return [moved(box, before, after, line["fit"] or "resize") if _is_box(box) else box for box in boxes]


def _is_box(box: Any) -> bool:
    return isinstance(box, list) and len(box) == 4 and all(isinstance(one, (int, float)) for one in box)
