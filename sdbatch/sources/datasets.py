"""Data sets of pictures: folders, imagefolders, tars, Parquet with image bytes, globs → items with their columns.

Pictures that lie in tars or tables are written once into a folder of the cache, each named by its sha256.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import re
import tarfile
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from sdbatch.errors import InputError
from sdbatch.sources import files, globs, remote
from sdbatch.sources.hashes import cache_folder

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
"""Files that are pictures of a data set."""
SPLITS = {"train": "train", "val": "validation", "valid": "validation", "validation": "validation", "test": "test"}
"""Folders that are splits, as Hugging Face's `imagefolder` has them."""
ITEMS_MAX = 10_000_000
MEMBER_BYTES = 256 << 20
"""Largest picture in a tar or a table."""
_METADATA = ("metadata.jsonl", "metadata.csv", "metadata.parquet")
_GLOB = re.compile(r"[*?\[]")


@dataclass(frozen=True, slots=True)
class Item:
    """One picture of a data set.

    Attributes:
        path: its file.
        name: what the data set calls it: a path with `/`, or a key.
        columns: what it says of the picture: texts, numbers, lists, mappings.
    """

    path: Path
    name: str
    columns: Mapping[str, Any] = field(default_factory=dict)


def read(given: str, base: Path, folder: Path | None = None) -> list[Item]:
    """The pictures of a data set, in an order that follows from their names.

    Args:
        given: a folder, a .tar, a .parquet, or a pattern of pictures or of tars; as a spec in `base` has it.
        folder: where pictures of tars and tables are unpacked; None is the cache.

    Raises:
        InputError: there is no such thing, or it is broken, empty, or of a kind that is not read.
    """
    found = list(islice(_items(given, base, folder), ITEMS_MAX + 1))
    if len(found) > ITEMS_MAX:
        raise InputError(f"{files.show(given)}: holds more than {ITEMS_MAX:,} pictures")
    if not found:
        raise InputError(f"{files.show(given)}: holds no pictures; read are {', '.join(SUFFIXES)}")
    return found


def _items(given: str, base: Path, folder: Path | None) -> Iterator[Item]:
    if _GLOB.search(given):
        paths = [files.at(base, name) for name in globs.files(given, base)]
        tars = [path for path in paths if path.suffix == ".tar"]
        pictures = [path for path in paths if path.suffix.lower() in SUFFIXES]
        yield from (item for path in tars for item in _tar(path, folder))
        yield from (Item(path, _relative(path, base)) for path in pictures)
        return
    path = files.at(base, given)
    try:
        remote.present(path) if path.suffix in (".tar", ".parquet") else remote.folder(path)
    except OSError as error:
        raise InputError(f"{files.show(given)}: {error}") from error
    if path.suffix == ".tar":
        yield from _tar(path, folder)
    elif path.suffix == ".parquet":
        yield from _parquet(path, folder)
    elif path.is_dir():
        yield from _folder(path, folder)
    else:
        raise InputError(f"{files.show(given)}: no such folder, .tar, .parquet or pattern")


def _relative(path: Path, base: Path) -> str:
    return Path(os.path.relpath(path, base)).as_posix()


# --- folders ---


_RUN = "runs.jsonl"
"""What every run directory has."""


def _folder(root: Path, unpacked: Path | None) -> Iterator[Item]:
    tars = sorted(root.glob("*.tar"))
    if tars:
        yield from (item for tar in tars for item in _tar(tar, unpacked))
        return
    tables = [path for where in (root, *_subfolders(root)) for name in _METADATA if (path := where / name).is_file()]
    if tables:
        yield from (item for table in tables for item in _listed(root, table))
        return
    for folder, names, here in os.walk(root):
        # Pictures of a run that lies in the data set are not of it: else a second run would vary the first one's.
        names[:] = sorted(name for name in names if not Path(folder, name, _RUN).is_file())
        for name in sorted(here):
            path = Path(folder, name)
            if path.suffix.lower() in SUFFIXES:
                files.within(path, root)
                relative = path.relative_to(root)
                yield Item(path, relative.as_posix(), _said_by_folders(relative.parts[:-1]))


def _subfolders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir())


def _said_by_folders(parts: tuple[str, ...]) -> dict[str, Any]:
    """Split and label, as Hugging Face reads class directories."""
    said: dict[str, Any] = {}
    if parts and parts[0].lower() in SPLITS:
        said["split"] = SPLITS[parts[0].lower()]
        parts = parts[1:]
    if parts:
        said["label"] = parts[-1]
    return said


def _listed(root: Path, table: Path) -> Iterator[Item]:
    """The lines of a `metadata` file, each about the picture that `file_name` names."""
    where = table.parent
    split = _said_by_folders(where.relative_to(root).parts[:1]).get("split")
    for number, line in enumerate(_lines(table), 1):
        name = line.pop("file_name", None)
        if not isinstance(name, str) or not name or "\0" in name or ".." in PurePosixPath(name).parts:
            raise InputError(f"{files.show(table)}: line {number}: file_name {name!r} is no path in its folder")
        path = where / name
        if not path.is_file():
            raise InputError(f"{files.show(table)}: line {number}: file_name {files.show(name)} is not there")
        files.within(path, root)
        yield Item(path, path.relative_to(root).as_posix(), {**({"split": split} if split else {}), **line})


def _lines(table: Path) -> Iterator[dict[str, Any]]:
    try:
        if table.suffix == ".parquet":
            import pyarrow.parquet as pq

            yield from (line for batch in pq.ParquetFile(table).iter_batches() for line in batch.to_pylist())
        elif table.suffix == ".csv":
            with table.open(encoding="utf-8", newline="") as file:
                yield from (dict(line) for line in csv.DictReader(file))
        else:
            for number, text in enumerate(table.read_text("utf-8").splitlines(), 1):
                if text.strip():
                    line = json.loads(text)
                    if not isinstance(line, dict):
                        raise InputError(f"{files.show(table)}: line {number} is not a JSON object")
                    yield line
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{files.show(table)}: cannot be read: {' '.join(str(error).split())[:300]}") from error


# --- tars and tables ---


def _tar(path: Path, folder: Path | None) -> Iterator[Item]:
    """A webdataset: members of one key stand side by side, a picture and what is said of it."""
    try:
        with tarfile.open(path, "r:") as tar:
            key, held = "", dict[str, bytes]()
            for member in tar:
                if not member.isfile():
                    continue
                name = PurePosixPath(member.name)
                stem, _, kind = name.name.partition(".")
                here = str(name.with_name(stem))
                if here != key and held:
                    yield from _sample(path, key, held, folder)
                    held = {}
                key = here
                if member.size > MEMBER_BYTES:
                    raise InputError(f"{files.show(path)}: {files.show(member.name)} is larger than 256 MiB")
                found = tar.extractfile(member)
                held[kind.lower()] = b"" if found is None else found.read()
            if held:
                yield from _sample(path, key, held, folder)
    except (tarfile.TarError, OSError) as error:
        raise InputError(f"{files.show(path)}: is no whole tar: {error}") from error


def _sample(path: Path, key: str, held: Mapping[str, bytes], folder: Path | None) -> Iterator[Item]:
    kind = next((kind for kind in held if f".{kind.rpartition('.')[2]}" in SUFFIXES), None)
    if kind is None:
        return
    columns: dict[str, Any] = {}
    try:
        if "json" in held:
            said = json.loads(held["json"])
            columns |= said if isinstance(said, dict) else {"json": said}
        for name, column in (("cls", "label"), ("txt", "caption")):
            if name in held:
                columns[column] = held[name].decode("utf-8").strip()
    except (ValueError, RecursionError) as error:
        raise InputError(f"{files.show(path)}: what {files.show(key)} says is not readable: {error}") from error
    yield Item(kept(held[kind], kind.rpartition(".")[2], folder), key, columns)


def _parquet(path: Path, folder: Path | None) -> Iterator[Item]:
    """A table with pictures in it as Hugging Face stores them: {bytes, path}, or bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
        names = [field.name for field in file.schema_arrow if _holds_pictures(field.type)]
        if len(names) != 1:
            said = f"{len(names)} are there ({', '.join(names)})" if names else "there is none"
            raise InputError(f"{files.show(path)}: needs one column of pictures (bytes, or bytes and path); {said}")
        for number, line in enumerate(line for batch in file.iter_batches(256) for line in batch.to_pylist()):
            cell = line.pop(names[0])
            data = cell.get("bytes") if isinstance(cell, dict) else cell
            called = cell.get("path") if isinstance(cell, dict) else None
            if not isinstance(data, bytes) or len(data) > MEMBER_BYTES:
                raise InputError(f"{files.show(path)}: row {number + 1}: holds no picture's bytes, or too many")
            suffix = PurePosixPath(called or "").suffix.lower()
            there = kept(data, suffix.lstrip(".") if suffix in SUFFIXES else "png", folder)
            yield Item(there, called or f"{number:08d}", line)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{files.show(path)}: cannot be read: {' '.join(str(error).split())[:300]}") from error


def _holds_pictures(kind: Any) -> bool:
    import pyarrow as pa

    binary = pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
    return bool(binary or (pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0))


def kept(data: bytes, kind: str, folder: Path | None = None) -> Path:
    """A file of a folder, or of the cache, with these bytes, named by their sha256; written where it is not there."""
    name = hashlib.sha256(data).hexdigest()
    home = Path(os.path.abspath(cache_folder())) / "pictures" if folder is None else folder
    path = home / name[:2] / f"{name}.{kind}"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".part-{uuid.uuid4().hex}")
        part.write_bytes(data)
        os.replace(part, path)
    return path


def beside(item: Item, named: str) -> Path:
    """A file that a data set names, from the folder that its picture's own name starts in.

    Raises:
        InputError: it is not in that folder.
    """
    root = Path(str(item.path).removesuffix(item.name))
    if "\0" in named or os.path.isabs(named) or ".." in PurePosixPath(named).parts:
        raise InputError(f"{item.name}: {files.show(named)} is no path in the data set's folder")
    files.within(root / named, root)
    return root / named


def inverted(mask: Path) -> Path:
    """A mask of everything else, as a file of the cache.

    Raises:
        InputError: it is no picture.
    """
    import numpy as np
    from PIL import Image

    from sdbatch.sources import pictures

    grey = pictures.read(mask).mean(axis=2) >= 128
    data = io.BytesIO()
    Image.fromarray(np.where(grey, 0, 255).astype(np.uint8)).save(data, "png")
    return kept(data.getvalue(), "png")
