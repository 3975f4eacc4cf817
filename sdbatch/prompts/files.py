"""A folder of wildcard files: names → lines.

As dynamicprompts reads them: `colors.txt` is `colors`, one value a line, blank lines and lines that start with `#` left
out; `.yaml` and `.json` hold mappings of lists, whose keys, joined by `/`, are the names, or one list, which has the
file's own name. Folders come before a name: `dir/colors`.
"""

from __future__ import annotations

import difflib
import fnmatch
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from types import NoneType
from typing import Any, NamedTuple

FILE_BYTES = 64 << 20
"""Largest wildcard file in text; a .yaml or .json of them ends at a sixteenth of it."""

_WEIGHT = re.compile(r"(\d+(?:\.\d*)?)::(.*)\Z", re.DOTALL | re.ASCII)


class Line(NamedTuple):
    """A value, and how often it is picked against the others."""

    text: str
    weight: float = 1.0


class Files:
    """Wildcards of a folder; the folder is read when the first is asked for.

    Args:
        folder: None where there is none.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._read: dict[str, Path | list[Line]] | None = None

    def match(self, pattern: str) -> list[str]:
        """The names that a name or pattern (`dir/*`) stands for, sorted; `*` stands for `/` too.

        Raises:
            ValueError: there are none, or a file of the folder cannot be read.
        """
        name = re.sub(r"[\\/]+", "/", pattern.strip()).strip("/")
        if self._folder is None:
            raise ValueError(f"__{pattern}__: there is no folder of wildcards; put a folder wildcards/ beside the spec")
        names = self._names()
        found = [name] if name in names else sorted(one for one in names if fnmatch.fnmatchcase(one, name))
        if not found:
            raise ValueError(self._missing(pattern, name, sorted(names)))
        return found

    def lines(self, name: str) -> list[Line]:
        """The values of one wildcard in order, those that repeat an earlier one left out.

        Raises:
            ValueError: it has none, or cannot be read.
        """
        found = self._names()[name]
        if isinstance(found, Path):
            found = self._names()[name] = _distinct([Line(line) for line in _text_lines(found)])
        if not found:
            raise ValueError(f"wildcard {name!r} in {self._folder} has no values")
        return found

    def _missing(self, pattern: str, name: str, names: list[str]) -> str:
        near = difflib.get_close_matches(name, names, 3)
        near += [one for one in names if one.rpartition("/")[2] == name and one not in near][:3]
        hint = f"; did you mean {' or '.join(f'__{one}__' for one in near)}?" if near else ""
        if not hint:
            hint = f"; there are: {', '.join(names[:10])}" + (" …" if len(names) > 10 else "") if names else ""
        what = "no wildcard matches" if any(sign in name for sign in "*?[") else f"there is no wildcard file {name}.txt"
        return f"__{pattern}__: {what} in {self._folder}{hint}"

    def _names(self) -> dict[str, Path | list[Line]]:
        if self._read is None:
            assert self._folder is not None
            read: dict[str, Path | list[Line]] = {}
            for path in _walk(self._folder):
                for name, lines in _wildcards(path, self._folder):
                    if name in read:
                        raise ValueError(f"{path}: {name!r} is in another file of {self._folder} too")
                    read[name] = lines
            self._read = read
        return self._read


def _distinct(lines: list[Line]) -> list[Line]:
    """Lines in order, the first of those that have one text."""
    first: dict[str, Line] = {}
    for line in lines:
        first.setdefault(line.text, line)
    return list(first.values())


def _walk(folder: Path) -> Iterator[Path]:
    """Wildcard files by path; hidden folders left out, links followed."""
    seen: set[str] = set()
    found: list[Path] = []
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder of wildcards")
    for where, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(where)
        folders[:] = [] if real in seen else sorted(one for one in folders if not one.startswith("."))
        found += [Path(where, file) for file in files if not file.startswith(".")] if real not in seen else []
        seen.add(real)
    return iter(sorted(path for path in found if path.suffix in (".txt", ".yaml", ".json")))


def _wildcards(path: Path, folder: Path) -> Iterator[tuple[str, Path | list[Line]]]:
    """A file's wildcards by name."""
    if path.suffix == ".txt":
        yield path.relative_to(folder).with_suffix("").as_posix(), path
        return
    data = _structured(path)
    if isinstance(data, list):
        yield path.relative_to(folder).with_suffix("").as_posix(), _items(data, path)
    elif isinstance(data, dict):
        yield from _mapped(data, path, path.parent.relative_to(folder).parts)
    elif data is not None:
        raise ValueError(f"{path}: neither a list nor a mapping of lists")


def _mapped(data: dict[Any, Any], path: Path, before: tuple[str, ...]) -> Iterator[tuple[str, list[Line]]]:
    for key, value in data.items():
        name = (*before, str(key))
        if isinstance(value, dict):
            yield from _mapped(value, path, name)
        elif value is not None:
            yield "/".join(name), _items(value if isinstance(value, list) else [value], path)


def _items(items: list[Any], path: Path) -> list[Line]:
    """`red`, `3::red` or `{text: red, weight: 3}` each; what is empty is left out."""
    lines = []
    for item in items:
        text: Any = item
        weight: Any = 1.0
        if isinstance(item, dict):
            text, weight = item.get("text", item.get("content")), item.get("weight", 1.0)
        elif isinstance(item, str) and (match := _WEIGHT.match(item)):
            text, weight = match[2], float(match[1])
        if not isinstance(text, (str, int, float, NoneType)) or not _is_weight(weight):
            raise ValueError(f"{path}: {item!r} is not a text, a number or {{text, weight}}")
        if text not in (None, "") and weight > 0:
            lines.append(Line(str(text), float(weight)))
    return _distinct(lines)


def _is_weight(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1e300


def _structured(path: Path) -> Any:
    import yaml

    text = _contents(path)
    try:
        if path.suffix == ".json":
            return json.loads(text)
        events = yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        if any(isinstance(event, yaml.AliasEvent) for event in events):  # of a few lines they make billions
            raise ValueError("aliases (*name) are not read in wildcards; write the values out")
        return yaml.safe_load(text)
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise ValueError(f"{path}: {' '.join(str(error).split())}") from error


def _text_lines(path: Path) -> Iterator[str]:
    for line in _contents(path).splitlines():
        if (stripped := line.strip()) and not stripped.startswith("#"):
            yield stripped


def _contents(path: Path) -> str:
    try:
        if path.exists() and not path.is_file():
            raise ValueError(f"{path}: is not a regular file")
        most = FILE_BYTES if path.suffix == ".txt" else FILE_BYTES >> 4
        if path.stat().st_size > most:
            raise ValueError(f"{path}: is larger than {most >> 20} MiB")
        return path.read_text("utf-8-sig")
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 at byte {error.start}") from error
