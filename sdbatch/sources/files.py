"""Open what a user named as an input: a regular file with something in it, or a clear reason why not.

Links are followed only within roots: a relative path ends below the spec's folder, or where it names a file outside of
that, below the deepest folder that both are in; or else below a folder of $SDBATCH_ROOTS. An absolute path goes where
it leads.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from sdbatch.errors import InputError
from sdbatch.sources import remote

ROOTS = "SDBATCH_ROOTS"
"""The environment variable with the folders that links in inputs may lead to."""


def at(base: Path, name: str) -> Path:
    """The absolute path of a file that a spec in `base` names; `..` goes by the words, as in a run's job.yaml."""
    if remote.is_url(name):
        return remote.located(name)
    # Python 3.11.4's normpath ends a text at its first NUL.
    return base / name if "\0" in name else Path(os.path.abspath(base / name))


def reached(base: Path, name: str, home: Path | None = None) -> Path:
    """As `at`; the file need not be there.

    Args:
        home: the folder of the spec that the name was first written in; None is `base`. Only links ask for it.

    Raises:
        InputError: links on the way lead out of the roots.
    """
    path = at(base, name)
    if remote.url(path) is not None:
        _have(path)  # an object is no link
    elif "\0" not in name and not os.path.isabs(name):
        within(path, _root(path, home or base))
    return path


def within(path: Path, root: Path) -> None:
    """See that links do not lead a path out of a root, or else into none of $SDBATCH_ROOTS.

    Raises:
        InputError: they do.
    """
    real = os.path.realpath(path)
    more = (os.path.expanduser(entry) for entry in os.environ.get(ROOTS, "").split(os.pathsep) if entry)
    if not any(Path(real).is_relative_to(os.path.realpath(one)) for one in (str(root), *more)):
        raise InputError(
            f"{show(path)}: links on the way lead to {show(real)}, which is not in {show(root)}; name that file "
            f"itself, or set {ROOTS} to the folders that links may lead to"
        )


def _root(path: Path, home: Path) -> Path:
    """The deepest folder that a file and the spec's folder are both in, by the words."""
    try:
        return Path(os.path.commonpath([os.path.abspath(home), path.parent]))
    except ValueError:  # on two drives
        return path.parent


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file to read; a pipe or a device is refused rather than waited for.

    Raises:
        InputError: it is missing, empty, no regular file, or may not be read.
    """
    _have(path)
    try:
        # Without O_NONBLOCK a named pipe holds whoever opens it until somebody writes.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except (OSError, ValueError) as error:
        raise InputError(f"{show(path)}: {_reason(error)}") from error
    with os.fdopen(handle, "rb", closefd=True) if _regular(handle) else _refused(path, handle) as file:
        if not os.fstat(handle).st_size:
            raise InputError(f"{show(path)}: is empty (0 bytes)")
        yield file


def _have(path: Path) -> None:
    try:
        remote.present(path)
    except OSError as error:
        raise InputError(f"{show(remote.url(path) or path)}: {error.strerror or error}") from error


def show(path: Path | str) -> str:
    """A path for a message: controls and halves of characters as escapes, so that it stays on one line."""
    path = path if isinstance(path, str) else remote.url(path) or path
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
