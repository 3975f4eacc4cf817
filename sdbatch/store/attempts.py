"""What each worker has in hand, written before it begins: whoever finds it later knows under what a worker died."""

from __future__ import annotations

import json
import os
import socket
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sdbatch.store.base import Store
from sdbatch.types import Row

FOLDER = "attempts"


@dataclass(frozen=True)
class Attempt:
    """A batch that a worker never came back from.

    Attributes:
        rows: (id, row) of each of its rows.
        where: the worker.
        about: device, model, batch and memory, for people; empty where it did not say.
    """

    rows: tuple[tuple[str, str], ...]
    where: str
    about: str = field(default="", compare=False)

    @property
    def alone(self) -> bool:
        """Whether there is but one picture to blame."""
        return len({identity for identity, _ in self.rows}) == 1


class InHand:
    """The note of one worker: a line for each batch, of which the last counts.

    `about` says of a batch's first row what it is made on, for `status`.

    It need not outlive the machine, only the process, so it is not flushed to the disk. Nor is it written anew for
    each batch: to rename a file over another one takes file systems milliseconds, in which nothing is rendered.
    """

    def __init__(self, store: Store, about: Callable[[Row], str] = lambda row: "") -> None:
        self._store, self._about = store, about
        self._where = f"{socket.gethostname()}-{os.getpid()}"
        self._path = f"{FOLDER}/{self._where}-{uuid.uuid4().hex[:8]}.jsonl"

    def take(self, groups: Sequence[Sequence[Row]]) -> None:
        """Note a batch; the one before is no longer in hand.

        Raises:
            StoreError: the directory cannot be written.
        """
        rows = [[row.id, row.row] for group in groups for row in group]
        note = json.dumps({"where": self._where, "about": self._about(groups[0][0]), "rows": rows})
        self._store.note(self._path, note)

    def put_down(self) -> None:
        """Nothing is in hand any more."""
        self._store.remove(self._path)


def left(store: Store) -> list[Attempt]:
    """The notes that are there; those that do not read as one are left out."""
    found = []
    for path in store.list(FOLDER):
        try:
            # Where a worker was killed in the middle of a line, its batch had not begun, and the one before had ended.
            whole, _, torn = (store.read(path) or b"").rpartition(b"\n")
            note = json.loads(torn or whole.rpartition(b"\n")[2])
            rows = tuple((str(identity), str(row)) for identity, row in note["rows"])
            found.append(Attempt(rows, str(note["where"]), str(note.get("about", ""))))
        except (ValueError, KeyError, TypeError):
            continue
    return found


def clear(store: Store) -> None:
    """Take all notes away; call it only while holding the lock, when no worker is left."""
    for path in store.list(FOLDER):
        store.remove(path)
