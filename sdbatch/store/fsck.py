"""What is wrong with a run directory: every file of it is looked at, and nothing is changed."""

from __future__ import annotations

import hashlib
import itertools
import os
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from sdbatch.errors import StoreError
from sdbatch.sources import remote
from sdbatch.store import carried, images, papers
from sdbatch.store.base import LEFTOVERS
from sdbatch.store.directory import RunDirectory
from sdbatch.store.findings import Finding, Found
from sdbatch.store.manifest import FAILURES, FOLDER, whole_part

THREADS = 4
IMAGES = "images"
_AHEAD = 64
_COLUMNS = ("path", "row", "file_sha256", "pixel_sha256")
_Item = TypeVar("_Item")
_Made = TypeVar("_Made")


@dataclass(frozen=True, slots=True)
class _Line:
    part: str
    at: int
    row: str
    file_sha256: str | None
    pixel_sha256: str | None


def find(directory: RunDirectory, *, live: bool = False) -> Found:
    """Look at every file of a run directory; pictures are read several at a time, and few are held at once.

    Args:
        live: a run is at work there, so that pictures without a line and temporary files are no fault.

    Raises:
        StoreError: a file may not be read.
    """
    root = remote.folder(directory.path, exact=True)
    # Files first: a picture whose line is written in between is then no orphan.
    there = [] if live else list(_walk(root))
    table, findings = _lines(directory)
    findings += papers.find(directory)
    findings += _duplicates(table)
    table = table.sort_by([("path", "ascending"), ("part", "ascending"), ("at", "ascending")])
    with ThreadPoolExecutor(THREADS, thread_name_prefix="fsck") as pool:
        looked = _ahead(pool, lambda group: _picture(root, *group), _by_path(table))
        findings += [finding for found in looked for finding in found]
        if not live:
            findings += _beyond(root, table, there, pool)
            findings += [Finding("temporary", path, "left by a run that was killed") for path in _temporary(root)]
    pictures = pc.count_distinct(table.column("path")).as_py()
    return Found(table.num_rows, pictures, tuple(findings))


# --- the manifest ---


def _lines(directory: RunDirectory) -> tuple[pa.Table, list[Finding]]:
    """The lines of every whole part, with their place, and the parts that are not whole."""
    tables, findings = [], []
    wanted = pa.schema([*((name, pa.string()) for name in _COLUMNS), ("part", pa.string()), ("at", pa.int64())])
    for folder in (FOLDER, FAILURES):
        for path in directory.store.list(folder):
            try:
                if not path.endswith(".parquet"):
                    raise StoreError(f"{path} is not a part")
                table = whole_part(directory.store, path)
            except StoreError as error:
                message = re.sub(r"; `sdbatch fsck.*", "", str(error).removeprefix(str(directory.path)).lstrip("/"))
                findings.append(Finding("part", path, message.removeprefix(path).strip()))
                continue
            if folder == FOLDER:
                count = table.num_rows
                place = [pa.array([path] * count, pa.string()), pa.array(range(count), pa.int64())]
                arrays = [*(table.column(name) for name in _COLUMNS), *place]
                tables.append(pa.Table.from_arrays(arrays, schema=wanted))
    return (pa.concat_tables(tables) if tables else wanted.empty_table()), findings


def _duplicates(table: pa.Table) -> Iterator[Finding]:
    counted = pc.value_counts(table.column("row").combine_chunks())
    twice = counted.field("values").filter(pc.greater(counted.field("counts"), 1))
    if not len(twice):
        return
    again = table.filter(pc.is_in(table.column("row"), value_set=twice)).sort_by(
        [("row", "ascending"), ("part", "ascending"), ("at", "ascending")]
    )
    for row, group in itertools.groupby(again.to_pylist(), key=lambda line: line["row"]):
        lines = list(group)
        parts = ", ".join(dict.fromkeys(line["part"] for line in lines))
        places = tuple((line["part"], line["at"]) for line in lines)
        yield Finding("duplicate", lines[0]["path"], f"{len(lines)} lines, in {parts}", (row,), lines=places)


# --- pictures ---


def _by_path(table: pa.Table) -> Iterator[tuple[str, list[_Line]]]:
    """The lines of each picture; the table is sorted by path."""
    lines = (line for batch in table.to_batches(max_chunksize=4096) for line in batch.to_pylist())
    for path, group in itertools.groupby(lines, key=lambda line: str(line["path"])):
        yield path, [_Line(*(line[name] for name in ("part", "at", *_COLUMNS[1:]))) for line in group]


def _picture(root: Path, path: str, lines: list[_Line]) -> list[Finding]:
    """Compare one picture with its lines; it is decoded only where its bytes are not those written."""
    if Path(path).is_absolute() or ".." in PurePosixPath(path).parts or not path.startswith(f"{IMAGES}/"):
        return [_wrong("missing", path, "the manifest names a file outside images/", lines)]
    try:
        data = _read(root / path)
    except OSError as error:
        if isinstance(error, (FileNotFoundError, NotADirectoryError, IsADirectoryError)):
            return [_wrong("missing", path, "is in the manifest, but not there", lines)]
        return [_wrong("torn", path, f"cannot be read: {error.strerror}", lines)]
    hashed = hashlib.sha256(data).hexdigest()
    bad = [line for line in lines if line.file_sha256 != hashed]
    if not bad:
        return []
    try:
        pixels = images.decode(data)
    except Image.DecompressionBombError:
        return [_wrong("altered", path, "is not the file that was written, and too large to decode", bad)]
    except Exception as error:  # Pillow raises all sorts over broken files
        why = "is empty" if not data else f"cannot be decoded: {' '.join(str(error).split())[:200]}"
        return [_wrong("torn", path, why, bad)]
    if not carried.lossless(root / path):
        said = "is not the file that was written; whether its pixels are cannot be told, for it is not lossless"
        return [_wrong("altered", path, said, bad)]
    same = all(line.pixel_sha256 == images.pixel_sha256(pixels) for line in bad)
    said = "is not the file that was written; its pixels " + ("are those recorded" if same else "differ too")
    return [replace(_wrong("altered", path, said, bad), pixels="same" if same else "different")]


def _wrong(kind: str, path: str, message: str, lines: Iterable[_Line]) -> Finding:
    lines = list(lines)
    rows = tuple(dict.fromkeys(line.row for line in lines))
    return Finding(kind, path, message, rows, lines=tuple((line.part, line.at) for line in lines))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except PermissionError as error:
        raise StoreError(f"{path}: {error.strerror}") from error


# --- what no line names ---


def _walk(root: Path) -> Iterator[str]:
    """The files under images/, temporary ones left out."""
    for folder, _, names in os.walk(root / IMAGES):
        for name in names:
            if not name.startswith(LEFTOVERS):
                yield Path(folder, name).relative_to(root).as_posix()


def _temporary(root: Path) -> Iterator[str]:
    for folder, _, names in os.walk(root):
        yield from (Path(folder, name).relative_to(root).as_posix() for name in names if name.startswith(LEFTOVERS))


def _beyond(root: Path, table: pa.Table, there: list[str], pool: ThreadPoolExecutor) -> Iterator[Finding]:
    """Orphans, and companions (`output.save`) of a picture that are torn."""
    names = pa.array([os.fsencode(name) for name in there], pa.binary())
    known = pc.is_in(names, value_set=table.column("path").combine_chunks().cast(pa.binary()))
    rest = [name for name, is_known in zip(there, known.to_pylist(), strict=True) if not is_known]
    stems = pa.array([os.fsencode(stem) for name in rest if (stem := images.beside_which(name))], pa.binary())
    short = pc.replace_substring_regex(table.column("path"), r"\.[^./]*$", "").cast(pa.binary())
    owners: dict[str, list[_Line]] = {}
    for path, lines in _by_path(table.filter(pc.is_in(short, value_set=stems))):
        owners.setdefault(path.rpartition(".")[0], []).extend(lines)

    def look(name: str) -> Finding | None:
        stem = images.beside_which(name)
        if stem not in owners:
            return Finding("orphan", name, "no line of the manifest names it")
        try:
            images.check_beside(name, _read(root / name))
        except StoreError:
            raise
        except Exception as error:  # Pillow raises all sorts over broken files
            said = f"stands beside a picture and cannot be decoded: {' '.join(str(error).split())[:200]}"
            return _wrong("torn", name, said, owners[stem])
        return None

    yield from (finding for finding in _ahead(pool, look, rest) if finding is not None)


def _ahead(pool: ThreadPoolExecutor, look: Callable[[_Item], _Made], items: Iterable[_Item]) -> Iterator[_Made]:
    """What `look` makes of each item, in order, with a bounded number of them under way."""
    waiting: deque[Future[_Made]] = deque()
    for item in items:
        waiting.append(pool.submit(look, item))
        if len(waiting) >= _AHEAD:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
