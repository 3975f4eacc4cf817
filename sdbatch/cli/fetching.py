"""How the download of a hub model looks on standard error."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self


@contextmanager
def shown(*, quiet: bool = False) -> Iterator[None]:
    """Show whatever is downloaded inside."""
    from sdbatch.sources import fetching

    with Fetching(quiet=quiet) as watcher, fetching.watching(watcher):
        yield


class Fetching:
    """How a download looks: a line, and a bar where standard error is a terminal."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._bars: Any = None
        self._task: Any = None
        self._left = 0
        self.size = 0  # bytes that came

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._end()

    def begin(self, name: str, commit: str, files: int, size: int) -> None:
        """So much will be fetched."""
        if self._quiet:
            return
        print(f"{name} at {commit[:12]}: {files} files, {_size(size)} to fetch", file=sys.stderr, flush=True)
        if sys.stderr.isatty():
            self._bars = _bars()
            self._task = self._bars.add_task(name, total=size)
            self._bars.start()
            self._left = size

    def received(self, size: int) -> None:
        """So much more is here."""
        self.size += size
        if self._bars is not None:
            self._bars.update(self._task, advance=size)
            self._left -= size
            if self._left <= 0:  # what follows draws a bar of its own
                self._end()

    def _end(self) -> None:
        if self._bars is not None:
            self._bars.stop()
            self._bars = None


def _bars() -> Any:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    return Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True))


def _size(size: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} GB"
