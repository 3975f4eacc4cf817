"""Where a run directory lies: the few things that a disk or a bucket must be able to do."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from sdbatch.errors import StoreError
from sdbatch.sources import remote
from sdbatch.store.lock import LOCK, Lock

TEMPORARY = ".part-"
LEFTOVERS = (TEMPORARY, ".owner-")
"""How names of files start that are never whole: what a killed run leaves."""


class Store(Protocol):
    """Paths are relative, with `/`. Every method raises StoreError where the place says no."""

    def replace(self, path: str, data: bytes, *, flush: bool = True) -> None:
        """Write a whole file; readers see the old one or the new one, never a part.

        Without `flush` it may be lost with the machine, but not with the process.
        """

    def create(self, path: str, data: bytes) -> None:
        """Write a whole file that is not there yet; StoreError where another is."""

    def append(self, path: str, line: str) -> None:
        """Add one line to a text file."""

    def note(self, path: str, line: str) -> None:
        """Add one line to a text file of which the last line counts."""

    def read(self, path: str) -> bytes | None:
        """A file's bytes, or None where there is none."""

    def exists(self, path: str) -> bool:
        """Whether there is such a file."""

    def size(self, path: str) -> int | None:
        """A file's bytes; None where there is none."""

    def list(self, folder: str) -> list[str]:
        """Paths of the complete files in a folder, sorted."""

    def remove(self, path: str) -> None:
        """Take a file away; nothing happens where there is none."""

    def move(self, path: str, to: str) -> None:
        """Give a file another place; what is there stays, and StoreError is raised."""

    def sweep(self) -> None:
        """Remove what a killed run left half written; call it only while holding the lock."""

    def confirm(self) -> None:
        """See that `lock`, where it is held, is still ours: BusyError where another run took the place over."""

    def shown(self, path: str = "") -> str:
        """A path, or the place itself, as a user would find it."""

    def lock(self) -> contextlib.AbstractContextManager[None]:
        """Hold the directory alone; BusyError where another run does."""


def _not_through_links(name: str, how: int) -> int:
    """Open a file to be appended to; a link would lead out of the directory."""
    return os.open(name, how | os.O_NOFOLLOW, 0o666)


class LocalStore:
    """A folder on a disk.

    A file is written beside its place under a temporary name, flushed to the disk, and renamed.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._lock: Lock | None = None

    def replace(self, path: str, data: bytes, *, flush: bool = True) -> None:
        target = self._at(path)
        part = target.with_name(f"{TEMPORARY}{uuid.uuid4().hex}")
        with _said(target):
            self._make_folder(target.parent)
            try:
                with part.open("xb") as file:
                    file.write(data)
                    if flush:
                        file.flush()
                        os.fsync(file.fileno())
                os.replace(part, target)
            except BaseException:
                part.unlink(missing_ok=True)
                raise

    def create(self, path: str, data: bytes) -> None:
        self.replace(path, data)  # names that must not be there hold a run's own name, and there is one run at a time

    def note(self, path: str, line: str) -> None:
        self.append(path, line)

    def exists(self, path: str) -> bool:
        return self._at(path).is_file()

    def size(self, path: str) -> int | None:
        try:
            return self._at(path).stat().st_size
        except OSError:
            return None

    def append(self, path: str, line: str) -> None:
        target = self._at(path)
        with _said(target):
            self._make_folder(target.parent)
            with open(target, "a+b", buffering=0, opener=_not_through_links) as file:
                end = file.seek(0, os.SEEK_END)
                # A run that died in the middle of a line must not take the next one with it.
                torn = end > 0 and os.pread(file.fileno(), 1, end - 1) != b"\n"
                data = (b"\n" if torn else b"") + line.rstrip("\n").encode() + b"\n"
                try:
                    if file.write(data) != len(data):
                        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                except OSError:
                    file.truncate(end)
                    raise

    def _make_folder(self, folder: Path) -> None:
        if not Path(os.path.realpath(folder)).is_relative_to(os.path.realpath(self.root)):
            raise StoreError(f"{folder}: is a link that leads out of the run directory")
        folder.mkdir(parents=True, exist_ok=True)

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

    def move(self, path: str, to: str) -> None:
        source, target = self._at(path), self._at(to)
        with _said(source):
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.exists():
                raise StoreError(f"{target}: is there already")
            os.rename(source, target)

    def shown(self, path: str = "") -> str:
        return str(self.root / path)

    def sweep(self) -> None:
        with _said(self.root):
            for folder, _, names in os.walk(self.root):
                for name in names:
                    if name.startswith(LEFTOVERS):
                        Path(folder, name).unlink(missing_ok=True)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder alone; how, and when a dead holder's lock is taken over, says `sdbatch.store.lock`."""
        with _said(self.root):
            made = not self.root.exists()
            self.root.mkdir(parents=True, exist_ok=True)
            lock = Lock(self.root)
            lock.acquire()
        self._lock = lock
        try:
            yield
        finally:
            self._lock = None
            lock.leave()
            # Nothing was begun: leave no trace. A directory that was there before is the user's.
            with suppress(FileNotFoundError):
                if made and [entry.name for entry in os.scandir(self.root)] == [LOCK]:
                    shutil.rmtree(self.root, ignore_errors=True)
            lock.close()

    def confirm(self) -> None:
        if self._lock is not None:
            self._lock.confirm()

    def _at(self, path: str) -> Path:
        target = self.root / path
        if ".." in Path(path).parts or Path(path).is_absolute():
            raise StoreError(f"{path!r} would leave the run directory")
        return target


def at(path: Path) -> Store:
    """The store of a run directory: a folder of a disk, or of a bucket (see `remote`)."""
    name = remote.url(path)
    if name is None:
        return LocalStore(path)
    from sdbatch.store.bucket import BucketStore  # and with it fsspec

    return BucketStore(name)


@contextmanager
def _said(path: Path) -> Iterator[None]:
    """Turn the system's errors into one that names the path."""
    try:
        yield
    except OSError as error:
        raise StoreError(f"{error.filename or path}: {error.strerror or error}") from error
