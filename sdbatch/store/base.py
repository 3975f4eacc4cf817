"""Where a run directory lies: the few things that a disk or a bucket must be able to do."""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from filelock import FileLock, Timeout

from sdbatch.errors import BusyError, StoreError

TEMPORARY = ".part-"
LOCK = ".lock"


class Store(Protocol):
    """Paths are relative, with `/`. Every method raises StoreError where the place says no."""

    def replace(self, path: str, data: bytes) -> None:
        """Write a whole file; readers see the old one or the new one, never a part."""

    def append(self, path: str, line: str) -> None:
        """Add one line to a text file."""

    def read(self, path: str) -> bytes | None:
        """A file's bytes, or None where there is none."""

    def list(self, folder: str) -> list[str]:
        """Paths of the complete files in a folder, sorted."""

    def remove(self, path: str) -> None:
        """Take a file away; nothing happens where there is none."""

    def lock(self) -> contextlib.AbstractContextManager[None]:
        """Hold the directory alone; BusyError where another run does."""


class LocalStore:
    """A folder on a disk.

    A file is written beside its place under a temporary name, flushed to the disk, and renamed.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def replace(self, path: str, data: bytes) -> None:
        target = self._at(path)
        part = target.with_name(f"{TEMPORARY}{uuid.uuid4().hex}")
        with _said(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                with part.open("xb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(part, target)
            except BaseException:
                part.unlink(missing_ok=True)
                raise

    def append(self, path: str, line: str) -> None:
        target = self._at(path)
        with _said(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("a", encoding="utf-8") as file:
                file.write(line.rstrip("\n") + "\n")

    def read(self, path: str) -> bytes | None:
        target = self._at(path)
        with _said(target):
            try:
                return target.read_bytes()
            except FileNotFoundError:
                return None

    def list(self, folder: str) -> list[str]:
        target = self._at(folder)
        with _said(target):
            if not target.is_dir():
                return []
            names = (entry.name for entry in os.scandir(target) if entry.is_file())
            return sorted(f"{folder}/{name}" for name in names if not name.startswith(TEMPORARY))

    def remove(self, path: str) -> None:
        target = self._at(path)
        with _said(target):
            target.unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove temporary files that a killed run left; call it only while holding the lock."""
        with _said(self.root):
            for path in self.root.rglob(f"{TEMPORARY}*"):
                path.unlink(missing_ok=True)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder alone: the system frees the lock when its holder dies, however it dies."""
        with _said(self.root):
            made = not self.root.exists()
            self.root.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.root / LOCK)
            try:
                lock.acquire(timeout=0)
            except Timeout as error:
                raise BusyError(f"{self.root}: another run holds this directory") from error
        try:
            yield
        finally:
            # Nothing was begun: leave no trace. A directory that was there before is the user's.
            if made and [entry.name for entry in os.scandir(self.root)] == [LOCK]:
                shutil.rmtree(self.root, ignore_errors=True)
            lock.release()

    def _at(self, path: str) -> Path:
        target = self.root / path
        if ".." in Path(path).parts or Path(path).is_absolute():
            raise StoreError(f"{path!r} would leave the run directory")
        return target


@contextmanager
def _said(path: Path) -> Iterator[None]:
    """Turn the system's errors into one that names the path."""
    try:
        yield
    except OSError as error:
        raise StoreError(f"{error.filename or path}: {error.strerror or error}") from error
