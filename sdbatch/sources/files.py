"""Open what a user named as an input: a regular file with something in it, or a clear reason why not."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from sdbatch.errors import InputError


def at(base: Path, name: str) -> Path:
    """The absolute path of a file that a spec in `base` names; `..` goes by the words, as in a run's job.yaml."""
    # Python 3.11.4's normpath ends a text at its first NUL.
    return base / name if "\0" in name else Path(os.path.abspath(base / name))


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file to read; a pipe or a device is refused rather than waited for.

    Raises:
        InputError: it is missing, empty, no regular file, or may not be read.
    """
    try:
        # Without O_NONBLOCK a named pipe holds whoever opens it until somebody writes.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except (OSError, ValueError) as error:
        raise InputError(f"{show(path)}: {_reason(error)}") from error
    with os.fdopen(handle, "rb", closefd=True) if _regular(handle) else _refused(path, handle) as file:
        if not os.fstat(handle).st_size:
            raise InputError(f"{show(path)}: is empty (0 bytes)")
        yield file


def show(path: Path | str) -> str:
    """A path for a message: controls and halves of characters as escapes, so that it stays on one line."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in str(path))


def _regular(handle: int) -> bool:
    return stat.S_ISREG(os.fstat(handle).st_mode)


def _refused(path: Path, handle: int) -> BinaryIO:
    kind = "a directory" if stat.S_ISDIR(os.fstat(handle).st_mode) else "a pipe or a device"
    os.close(handle)
    raise InputError(f"{show(path)}: is {kind}, not a file")


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, ValueError):
        return "the name holds a NUL or half a character"
    if isinstance(error, PermissionError):
        return "may not be read (permission denied)"
    return f"cannot be read: {error.strerror or error}"
