"""Files that match a pattern, walked within bounds: through no ring of links, and never without end."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterator
from pathlib import Path

from sdbatch.errors import InputError
from sdbatch.sources import remote
from sdbatch.sources.files import within

SEEN_MAX = 10_000_000
"""Most files and folders that a pattern looks at."""
FILES_MAX = 1_000_000
"""Most files that a pattern may match."""

_MAGIC = re.compile(r"[*?[]")


class TooMany(ValueError):
    """A pattern looks at more than SEEN_MAX names, or matches more than FILES_MAX files."""


def files(pattern: str, base: Path) -> list[str]:
    """Regular files that a pattern matches, sorted, from `base` unless the pattern is absolute, with `/`.

    `*`, `?` and `[…]` match within a name, `**` as a whole part any folders, none too. Names that begin with a dot
    are matched by parts that do. `**` goes through no folder that is a link; a part that names a link does.

    Raises:
        TooMany: the pattern has no bound.
        InputError: it is absolute, and links lead out of the folders that it names itself. (What a relative pattern
            matches is looked at as any other name of an input: a link that leads away fails its own rows.)
    """
    if remote.is_url(pattern) or remote.url(base) is not None:
        return _objects(pattern if remote.is_url(pattern) else f"{remote.url(base)}/{pattern}")
    pattern = pattern.replace(os.sep, "/")
    start = "/" if pattern.startswith("/") else ""
    parts = [part for part in pattern.split("/") if part not in ("", ".")]
    walk = _Walk(base)
    found: set[str] = set()
    for path in walk.matches(start, parts):
        if walk.is_file(path):
            found.add(path)
            if len(found) > FILES_MAX:
                raise TooMany(f"matches more than {FILES_MAX:,} files")
    if start:
        named = next((at for at, part in enumerate(parts) if _MAGIC.search(part)), len(parts) - 1)
        for path in sorted(found) if named < len(parts) - 1 or _MAGIC.search(parts[-1]) else ():
            within(Path(path), Path(start, *parts[:named]))
    return sorted(found)


def _objects(pattern: str) -> list[str]:
    """URLs that a pattern matches."""
    try:
        found = remote.glob(pattern)
    except OSError as error:
        raise InputError(f"{pattern}: {error.strerror or error}") from error
    if len(found) > FILES_MAX:
        raise TooMany(f"matches more than {FILES_MAX:,} files")
    return found


class _Walk:
    def __init__(self, base: Path) -> None:
        self._base, self._seen = base, 0

    def is_file(self, path: str) -> bool:
        return os.path.isfile(self._base / path)

    def matches(self, folder: str, parts: list[str]) -> Iterator[str]:
        """Paths below a folder that match the parts that are left."""
        if not parts:
            return
        head, rest = parts[0], parts[1:]
        while head == "**" and rest[:1] == ["**"]:  # as one; each more would walk everything again
            rest = rest[1:]
        if head == "**":
            for one in self._deep(folder):
                yield from self.matches(one, rest or ["*"])
        elif not _MAGIC.search(head):
            path = folder + head
            if os.path.lexists(self._base / path):
                yield from self.matches(path + "/", rest) if rest else (path,)
        else:
            for name, linked in self._names(folder):
                if fnmatch.fnmatchcase(name, head) and (name[0] != "." or head[0] == "."):
                    path = folder + name
                    within = rest and (not linked or os.path.isdir(self._base / path))
                    yield from self.matches(path + "/", rest) if within else () if rest else (path,)

    def _deep(self, folder: str) -> Iterator[str]:
        """A folder and all below it; a stack of our own, so that a deep tree is no deep recursion."""
        left = [folder]
        while left:
            here = left.pop()
            yield here
            for name, linked in self._names(here):
                if name[0] != "." and not linked and os.path.isdir(self._base / (here + name)):
                    left.append(f"{here}{name}/")

    def _names(self, folder: str) -> list[tuple[str, bool]]:
        """Names in a folder, and whether each is a link; none where it cannot be read."""
        try:
            with os.scandir(self._base / folder) as entries:
                found = [(entry.name, entry.is_symlink()) for entry in entries]
        except (OSError, ValueError):
            return []
        self._seen += len(found) + 1
        if self._seen > SEEN_MAX:
            raise TooMany(f"looks at more than {SEEN_MAX:,} files")
        return found
