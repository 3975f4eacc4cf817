"""A folder for files that nobody else may see and that nothing of may stay: it goes when the process ends."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from pathlib import Path

_made: list[Path] = []


def folder() -> Path:
    """The process's own, in $TMPDIR, which this user alone may read."""
    if not _made:
        _made.append(Path(tempfile.mkdtemp(prefix="sdbatch-")))
        atexit.register(clear)
    return _made[0]


def clear() -> None:
    """Take it away, if there is one."""
    while _made:
        shutil.rmtree(_made.pop(), ignore_errors=True)
