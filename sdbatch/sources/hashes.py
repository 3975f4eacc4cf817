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
        self._known: dict[str, object] = self._read()
        self._learnt: dict[str, object] = {}

    def _read(self) -> dict[str, object]:
        try:
            loaded = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return {}  # no cache yet, or a broken one: hash again
        return loaded if isinstance(loaded, dict) else {}

    def sha256(self, path: Path, start: int = 0) -> str:
        """Hex sha256 of a file's bytes, from `start` on.

        Raises:
            OSError: the file cannot be read.
        """
        real = path.resolve()
        if start == 0 and _SHA256.fullmatch(real.name) and _of_the_hub(real):
            return real.name
        stat = real.stat()
        mark: list[object] = [stat.st_size, stat.st_mtime_ns, stat.st_ino]
        key = f"{real}@{start}" if start else str(real)
        known = self._known.get(key)
        if isinstance(known, list) and len(known) == 4 and known[:3] == mark:
            return str(known[3])
        with real.open("rb") as file:
            file.seek(start)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        self._known[key] = self._learnt[key] = [*mark, digest]
        return digest

    def save(self) -> None:
        """Add what was learnt to the file; failures are ignored, since the cache is only a saving of time."""
        if not self._learnt:
            return
        learnt, self._learnt = self._learnt, {}
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile("w", dir=self._path.parent, delete=False, encoding="utf-8") as file:
                json.dump({**self._read(), **learnt}, file)  # others may have saved since
            os.replace(file.name, self._path)
        except OSError:
            self._learnt = {**learnt, **self._learnt}


def _of_the_hub(path: Path) -> bool:
    """Whether a file is a blob of the hub's own cache, which names large ones by their sha256.

    Anybody's folder may be called `blobs`, and its files named as another's contents.
    """
    if path.parent.name != "blobs":
        return False
    from huggingface_hub import constants

    return path.parent.parent.parent == Path(constants.HF_HUB_CACHE).resolve()
