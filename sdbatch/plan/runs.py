"""Columns of many rows, parted by a number: in memory while they are few, and from then on in a temporary file."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from sdbatch.errors import StoreError

ROOM = 128 * 2**20
"""Bytes that are kept in memory before they are written out."""

Columns = dict[str, NDArray[Any]]


class Runs:
    """Rows of several kinds, each in the part that it was put in; within a part they keep their order.

    The file has no name where the system can do that, so that nothing is left of it, whatever ends the process.

    Args:
        room: bytes that are kept in memory.
    """

    def __init__(self, room: int = ROOM) -> None:
        self._room, self._held = room, 0
        self._file: BinaryIO | None = None
        self._end = 0
        self._waiting: dict[tuple[str, int], list[Columns]] = defaultdict(list)
        self._written: dict[tuple[str, int], list[dict[str, tuple[int, int, np.dtype[Any]]]]] = defaultdict(list)

    def __enter__(self) -> Runs:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._waiting.clear()
        if self._file is not None:
            with suppress(OSError):
                self._file.close()

    def push(self, kind: str, parts: NDArray[Any] | int, columns: Mapping[str, NDArray[Any]]) -> None:
        """Add rows.

        Args:
            parts: (n,) whole numbers from 0, the part of each row; one number where all go into one part.
            columns: (n,) each, of the same names and dtypes in every call for a kind.

        Raises:
            StoreError: the temporary file cannot be written.
        """
        if isinstance(parts, int):
            self._waiting[kind, parts].append(dict(columns))
        else:
            order = np.argsort(parts, kind="stable")
            counts = np.bincount(parts)
            ends = np.cumsum(counts)
            columns = {name: column[order] for name, column in columns.items()}
            for part in np.flatnonzero(counts).tolist():
                here = slice(ends[part] - counts[part], ends[part])
                self._waiting[kind, part].append({name: column[here] for name, column in columns.items()})
        self._held += sum(column.nbytes for column in columns.values())
        if self._held > self._room:
            self._write()

    def pull(self, kind: str, part: int) -> Columns | None:
        """Take the rows of a part out; None where there are none.

        Raises:
            StoreError: the temporary file cannot be read.
        """
        written, waiting = self._written.pop((kind, part), []), self._waiting.pop((kind, part), [])
        found = [*map(self._read, written), *waiting]
        if not found:
            return None
        return (
            found[0] if len(found) == 1 else {name: np.concatenate([one[name] for one in found]) for name in found[0]}
        )

    def _write(self) -> None:
        with _said():
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="sdbatch-", buffering=0)  # noqa: SIM115 - until the end
            for key, waiting in self._waiting.items():
                extents = {}
                for name in waiting[0]:
                    column = np.concatenate([one[name] for one in waiting])
                    extents[name] = (self._end, len(column), column.dtype)
                    self._append(column.data.cast("B"))
                self._written[key].append(extents)
        self._waiting.clear()
        self._held = 0

    def _append(self, data: memoryview) -> None:
        assert self._file is not None
        self._file.seek(self._end)
        self._end += len(data)
        while data:  # a disk that is nearly full takes a part, and says no to the rest
            data = data[self._file.write(data) :]

    def _read(self, extents: Mapping[str, tuple[int, int, np.dtype[Any]]]) -> Columns:
        assert self._file is not None
        found = {}
        with _said():
            for name, (start, count, kind) in extents.items():
                column = np.empty(count, kind)
                data = column.data.cast("B")
                self._file.seek(start)
                while data:
                    read = self._file.readinto(data)  # type: ignore[attr-defined]  # of an unbuffered file it is there
                    if not read:
                        raise OSError("it ends too early")
                    data = data[read:]
                found[name] = column
        return found


@contextmanager
def _said() -> Iterator[None]:
    """Turn the system's errors into one that names the folder."""
    try:
        yield
    except OSError as error:
        try:
            where = f"{tempfile.gettempdir()}: "
        except FileNotFoundError:  # which the error says too, with the folders that were tried
            where = ""
        raise StoreError(
            f"{where}a plan of so many rows needs room for temporary files: {error.strerror or error}; "
            "the environment variable TMPDIR names another folder"
        ) from error


def parts(count: int, each: int) -> int:
    """The least power of two of parts that hold about `each` of `count` rows."""
    return 1 << max(0, -(-count // each) - 1).bit_length()
