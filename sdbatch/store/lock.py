"""One run a directory: a lock that holds on one machine's disk and on a network's file system.

Two lines stand behind each other:

    .lock   locked with flock(2), which the system frees when its holder dies, however it dies. On a disk of
            this machine that is the whole truth. Network file systems may keep it to one machine, or refuse it.
    .owner  says who holds the directory: host, process, when that started, since when, and a random token. It is
            made complete under a name of its own and linked into place, which one of several succeeds in, on NFS
            too. While it is held its time is set anew every BEAT seconds.

A dead owner's file stays. Whoever finds one takes it over if its owner is surely gone: on the same machine, when
the process is not there or another of that number is; from elsewhere, when the file has not been touched for
STALE seconds, by the file system's own clock: a file written just now tells its time, and hosts' clocks do not
matter. To take over, `.owner-taken-TOKEN`, of which there can be one, has to be made first.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import threading
import time
import uuid
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import psutil

from sdbatch.errors import BusyError, StoreError
from sdbatch.store.owner import OWNER, STALE, UNSEEN, Owner, alive, holder, place, read, started

LOCK = ".lock"
BEAT = 30.0
"""Seconds between two signs of life."""
_TRIES = 20
_NO_FLOCK = {errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EIO}
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
_OWN_DISKS = {"apfs", "bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "hfs", "overlay", "tmpfs", "xfs", "zfs"}
"""File systems that one kernel has to itself, so that flock on them tells of every process that could be there."""


class Lock:
    """A directory's lock; the directory exists.

    Args:
        beat: seconds between two signs of life.
        stale: seconds after which an owner elsewhere that gave none counts as gone.
    """

    def __init__(self, root: Path, *, beat: float = BEAT, stale: float = STALE) -> None:
        self._root, self._path, self._beat, self._stale = root, root / OWNER, beat, stale
        self._file: int | None = None
        self._owner: Owner | None = None
        self._end = threading.Event()
        self._heart: threading.Thread | None = None

    def acquire(self) -> None:
        """Take the lock, or say at once who has it.

        Raises:
            BusyError: a live run holds the directory.
            OSError: the directory cannot be written.
        """
        self._file, flocked = _flock(self._root)
        try:
            if self._file is None:
                raise self._busy(holder(self._root))
            self._owner = Owner(socket.gethostname(), place(), os.getpid(), started(os.getpid()) or UNSEEN, flocked,
                                datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
                                uuid.uuid4().hex)  # fmt: skip
            self._own(self._owner)
        except BaseException:
            self.close()
            raise
        self._end.clear()
        self._heart = threading.Thread(target=self._live, name="lock", daemon=True)
        self._heart.start()

    def confirm(self) -> None:
        """See that the lock is still held.

        Raises:
            BusyError: another run took the directory over.
            StoreError: the lock's file is gone.
        """
        if self._owner is None:
            return
        try:
            there = read(self._root)
        except OSError as error:
            raise StoreError(f"{self._path}: {error.strerror or error}") from error
        if there is None:
            raise StoreError(f"{self._path}: removed or damaged while this run held the directory")
        if there.token != self._owner.token:
            raise BusyError(f"{self._root}: another run took this directory over ({there})")

    def leave(self) -> None:
        """Take the owner's file away, unless it is another's by now, and keep `.lock` until `close`."""
        self._end.set()
        if self._heart is not None:
            self._heart.join()
        with suppress(OSError):
            there = read(self._root)
            if there is not None and self._owner is not None and there.token == self._owner.token:
                self._path.unlink(missing_ok=True)
        self._owner = self._heart = None

    def close(self) -> None:
        """Give `.lock` back."""
        self._owner = None
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _busy(self, owner: Owner | None) -> BusyError:
        return BusyError(f"{self._root}: another run holds this directory" + (f" ({owner})" if owner else ""))

    def _live(self) -> None:
        while not self._end.wait(self._beat):
            # A directory out of reach for a while is no reason to end; confirm() tells what came of it.
            with suppress(OSError):
                there = read(self._root)
                if there is None or self._owner is None or there.token != self._owner.token:
                    return
                os.utime(self._path)

    # --- taking it ---

    def _own(self, owner: Owner) -> None:
        """Put the owner's file in place, where there is none or only a dead owner's."""
        mine = self._root / f"{OWNER}-{owner.token}"
        try:
            for _ in range(_TRIES):
                _write(mine, owner)
                with suppress(FileNotFoundError):  # whoever has the lock sweeps
                    if _link(mine, self._path):
                        return
                there = read(self._root)
                if not self._gone(there, mine, owner):
                    raise self._busy(there)
                with suppress(FileNotFoundError):
                    if self._take_over(mine, there, owner):
                        return
                time.sleep(0.01)
            raise self._busy(read(self._root))
        finally:
            mine.unlink(missing_ok=True)

    def _gone(self, there: Owner | None, mine: Path, owner: Owner) -> bool:
        """Whether an owner is surely no longer there; None is a file that does not read as one."""
        if there is not None and there.place == owner.place:
            return not alive(there)
        if owner.flock and (there is None or there.flock) and _on_own_disk(self._root):
            return True  # or flock had not been to be had
        return self._age(mine) > self._stale

    def _age(self, mine: Path) -> float:
        """Seconds since the owner's file was touched, by the file system's clock; `mine` was written just now."""
        try:
            with self._path.open("rb") as file:  # opening asks an NFS server for what is true now
                return mine.stat().st_mtime - os.fstat(file.fileno()).st_mtime
        except FileNotFoundError:
            return 0.0

    def _take_over(self, mine: Path, there: Owner | None, owner: Owner) -> bool:
        """Replace a dead owner's file; of several that try, one makes the mark that this needs."""
        mark = self._root / f"{OWNER}-taken-{there.token if there else 'unreadable'}"
        if not _link(mine, mark):
            other = read(self._root, mark.name)
            if other is not None and other.token != owner.token and self._gone(other, mine, owner):
                mark.unlink(missing_ok=True)  # died in the act
            return False
        try:
            # Whoever had the mark before may have replaced the file since it was looked at.
            if read(self._root) != there or not self._path.exists():
                return False
            os.rename(mine, self._path)
            return True
        finally:
            mark.unlink(missing_ok=True)


def _write(path: Path, owner: Owner) -> None:
    with path.open("wb") as file:
        file.write(json.dumps(asdict(owner)).encode())
        file.flush()
        os.fsync(file.fileno())


def _link(source: Path, target: Path) -> bool:
    """Give a file a second name, unless that is there already."""
    try:
        os.link(source, target)
    except FileExistsError:
        # A server's answer may get lost, and the question be asked again.
        return source.stat().st_nlink == 2 and source.samefile(target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        with suppress(FileExistsError), target.open("xb") as file:
            file.write(source.read_bytes())
            return True
        return False
    return True


def _flock(root: Path) -> tuple[int | None, bool]:
    """Open and lock the lock's file: None where another has it, False where the file system has no such locks."""
    while True:
        file = os.open(root / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with suppress(FileNotFoundError):
                if os.stat(root / LOCK).st_ino == os.fstat(file).st_ino:
                    return file, True
            root.mkdir(parents=True, exist_ok=True)
        except BlockingIOError:
            os.close(file)
            return None, False
        except OSError as error:
            if error.errno in _NO_FLOCK:
                return file, False
            os.close(file)
            raise
        os.close(file)  # it was removed with its directory before it was locked


def _on_own_disk(path: Path) -> bool:
    there = str(path.resolve())
    mounts = [part for part in psutil.disk_partitions(all=True) if Path(there).is_relative_to(part.mountpoint)]
    return bool(mounts) and max(mounts, key=lambda part: len(part.mountpoint)).fstype in _OWN_DISKS
