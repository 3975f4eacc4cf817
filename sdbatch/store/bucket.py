"""A run directory in a bucket, through fsspec: objects are whole or absent, and there is no rename.

- A file is one object, put at once. What must not be there yet, as a manifest's part, is put on that condition.
- The log is a folder of objects, one an event, `log.jsonl.d/NUMBER-…`, which `read` joins.
- The lock is an object, `.owner`, put on the condition that there is none. Its holder puts it anew every BEAT seconds;
  one that was not for STALE seconds, by the bucket's own clock, is taken over. Of several that try, one makes the mark
  that this needs. Before each commit the holder sees that the object is still its own.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, fields
from datetime import UTC, datetime
from typing import Any, TypeVar

from sdbatch.errors import BusyError, InputError, StoreError
from sdbatch.sources import remote
from sdbatch.store.owner import OWNER, STALE, Owner, alive, place, started

BEAT = 60.0
"""Seconds between two signs of life."""
_PARTS = ".d"
Found = TypeVar("Found")


class BucketStore:
    """A folder in a bucket. See `Store`.

    Args:
        url: `s3://bucket/folder`.
    """

    def __init__(self, url: str, *, beat: float = BEAT, stale: float = STALE) -> None:
        self.url = url.rstrip("/")
        self._beat, self._stale = beat, stale
        self._owner: Owner | None = None

    def replace(self, path: str, data: bytes, *, flush: bool = True) -> None:
        """Put an object, over one of that name."""
        name = self._at(path)
        self._asked(name, lambda files: files.pipe_file(name, data))
        remote.forget(remote.located(name))

    def create(self, path: str, data: bytes) -> None:
        """Put an object that is not there yet; StoreError where another is. Sent twice it is one and the same."""
        name = self._at(path)
        try:
            self._asked(name, lambda files: files.pipe_file(name, data, mode="create"))
        except FileExistsError as error:
            if self.read(path) != data:  # the answer to the first try may have been lost
                raise StoreError(f"{name}: is there already") from error

    def append(self, path: str, line: str) -> None:
        """Put a line as an object of its own, in the folder that stands for the file."""
        name = f"{time.time_ns():020d}-{uuid.uuid4().hex[:8]}"
        self.replace(f"{path}{_PARTS}/{name}", line.rstrip("\n").encode() + b"\n")

    def note(self, path: str, line: str) -> None:
        """Put a line that takes the place of those before."""
        self.replace(path, line.rstrip("\n").encode() + b"\n")

    def read(self, path: str) -> bytes | None:
        """An object, or the lines of a folder that stands for a file; None where there is neither."""
        name = self._at(path)
        try:
            return self._asked(name, lambda files: bytes(files.cat_file(name)))
        except FileNotFoundError:
            lines = self.list(f"{path}{_PARTS}") if path.endswith(".jsonl") else []
            return b"".join(self.read(one) or b"" for one in lines) if lines else None

    def exists(self, path: str) -> bool:
        """Whether there is such an object."""
        name = self._at(path)
        return self._asked(name, lambda files: bool(files.isfile(name)))

    def size(self, path: str) -> int | None:
        """Its bytes; None where there is none."""
        name = self._at(path)
        try:
            return self._asked(name, lambda files: int(files.info(name)["size"]))
        except FileNotFoundError:
            return None

    def list(self, folder: str) -> list[str]:
        """The objects of a folder, sorted."""
        name = self._at(folder)
        try:
            found = self._asked(name, lambda files: files.ls(name, detail=True))
        except FileNotFoundError:
            return []
        names = [one["name"].rstrip("/").rpartition("/")[2] for one in found if one["type"] == "file"]
        return sorted(f"{folder}/{name}" for name in names)

    def remove(self, path: str) -> None:
        """Take an object away; nothing happens where there is none."""
        name = self._at(path)
        with suppress(FileNotFoundError):
            self._asked(name, lambda files: files.rm_file(name))
        remote.forget(remote.located(name))

    def move(self, path: str, to: str) -> None:
        """Give an object another name; what has it stays, and StoreError is raised."""
        data = self.read(path)
        if data is None:
            raise StoreError(f"{self._at(path)}: is not there")
        self.create(to, data)
        self.remove(path)

    def shown(self, path: str = "") -> str:
        """The URL."""
        return f"{self.url}/{path}" if path else self.url

    def sweep(self) -> None:
        """Nothing: an object is never there in part."""

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder alone.

        Raises:
            BusyError: a live run holds it.
        """
        self._owner = owner = self._take()
        end = threading.Event()
        heart = threading.Thread(target=self._live, args=(owner, end), name="lock", daemon=True)
        heart.start()
        try:
            yield
        finally:
            end.set()
            heart.join()
            self._owner = None
            with suppress(StoreError):
                if (there := self._holder()) is not None and there.token == owner.token:
                    self.remove(OWNER)

    def confirm(self) -> None:
        """See that the lock is still held.

        Raises:
            BusyError: another run took the folder over.
            StoreError: the lock's object is gone.
        """
        if self._owner is None:
            return
        there = self._holder()
        if there is None:
            raise StoreError(f"{self.shown(OWNER)}: removed or damaged while this run held the directory")
        if there.token != self._owner.token:
            raise BusyError(f"{self.url}: another run took this directory over ({there})")

    # --- the lock ---

    def _take(self) -> Owner:
        since = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        begun = started(os.getpid()) or -1.0
        owner = Owner(socket.gethostname(), place(), os.getpid(), begun, False, since, uuid.uuid4().hex)
        data = json.dumps(asdict(owner)).encode()
        for _ in range(3):
            with suppress(StoreError):
                self.create(OWNER, data)
                return owner
            there = self._holder()
            if there is not None and not self._gone(there, owner):
                break
            if self._took_over(there, owner, data):
                return owner
        found = self._holder()
        raise BusyError(f"{self.url}: another run holds this directory" + (f" ({found})" if found else ""))

    def _holder(self) -> Owner | None:
        """Who the lock's object says; None where there is none, or it does not read as one."""
        try:
            found = json.loads(self.read(OWNER) or b"")
            return Owner(**{field.name: found[field.name] for field in fields(Owner)})
        except (ValueError, KeyError, TypeError):
            return None

    def _gone(self, there: Owner, mine: Owner) -> bool:
        """Whether an owner is surely no longer there: by its process on this machine, else by its signs of life."""
        if there.place == mine.place:
            return not alive(there)
        probe = f"{OWNER}-{mine.token}"
        self.replace(probe, b"now")
        try:
            seen, now = self._touched(OWNER), self._touched(probe)
        finally:
            self.remove(probe)
        return seen is None or now is None or (now - seen).total_seconds() > self._stale

    def _touched(self, path: str) -> datetime | None:
        """When an object was put, by the bucket's clock."""
        name = self._at(path)
        try:
            found = self._asked(name, lambda files: files.modified(name))
        except FileNotFoundError:
            return None
        return found if found.tzinfo else found.replace(tzinfo=UTC)

    def _took_over(self, there: Owner | None, owner: Owner, data: bytes) -> bool:
        """Put ours in a dead owner's place."""
        mark = f"{OWNER}-taken-{there.token if there else 'unreadable'}"
        try:
            self.create(mark, data)
        except StoreError:
            return False
        try:
            if self._holder() != there:
                return False
            self.replace(OWNER, data)
            return (found := self._holder()) is not None and found.token == owner.token
        finally:
            self.remove(mark)

    def _live(self, owner: Owner, end: threading.Event) -> None:
        data = json.dumps(asdict(owner)).encode()
        while not end.wait(self._beat):
            # A bucket out of reach for a while is no reason to end; confirm() tells what came of it.
            with suppress(StoreError):
                there = self._holder()
                if there is None or there.token != owner.token:
                    return
                self.replace(OWNER, data)

    # --- asking ---

    def _at(self, path: str) -> str:
        if path.startswith("/") or ".." in path.split("/"):
            raise StoreError(f"{path!r} would leave the run directory")
        return f"{self.url}/{path}"

    def _asked(self, name: str, ask: Callable[[Any], Found]) -> Found:
        try:
            files = remote.system(name.partition("://")[0])
            return remote.asked(name, lambda: ask(files))
        except (FileNotFoundError, FileExistsError):
            raise
        except PermissionError as error:
            raise StoreError(f"{name}: access was refused") from error
        except (OSError, InputError) as error:
            raise StoreError(str(error)) from error
