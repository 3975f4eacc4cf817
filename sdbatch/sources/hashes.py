"""Content hashes of files, remembered by path, size, mtime and inode so that weights are read once."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from pathlib import Path

_SHA256 = re.compile(r"[0-9a-f]{64}")


def cache_folder() -> Path:
    """`$XDG_CACHE_HOME/sdbatch`, else `~/.cache/sdbatch`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sdbatch"


class HashCache:
    """sha256 of files. A cache that cannot be read or written costs time, never correctness."""

    def __init__(self, folder: Path | None = None) -> None:
        self._path = (folder or cache_folder()) / "hashes.json"
        self._known: dict[str, list[object]] = {}
        self._changed = False
        try:
            loaded = json.loads(self._path.read_text(encoding="utf-8"))
            self._known = loaded if isinstance(loaded, dict) else {}
        except (OSError, ValueError):
            pass  # no cache yet, or a broken one: hash again

    def sha256(self, path: Path) -> str:
        """Hex sha256 of a file's bytes.

        Raises:
            OSError: the file cannot be read.
        """
        real = path.resolve()
        if _SHA256.fullmatch(real.name):  # a hub cache names a large file's blob by its sha256
            return real.name
        stat = real.stat()
        mark: list[object] = [stat.st_size, stat.st_mtime_ns, stat.st_ino]
        known = self._known.get(str(real))
        if isinstance(known, list) and len(known) == 4 and known[:3] == mark:
            return str(known[3])
        with real.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        self._known[str(real)] = [*mark, digest]
        self._changed = True
        return digest

    def save(self) -> None:
        """Write what was learnt; failures are ignored, since the cache is only a saving of time."""
        if not self._changed:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile("w", dir=self._path.parent, delete=False, encoding="utf-8") as file:
                json.dump(self._known, file)
            os.replace(file.name, self._path)
        except OSError:
            return
        self._changed = False
