"""What lies in a bucket: `s3://…`, `gs://…`. Each object has its place in a folder of this machine, and is fetched.

`s3://bucket/photos/a.png` is `urls/s3/bucket/photos/a.png` in sdbatch's cache, so that whoever reads files need not
know of buckets, and names beside a spec in a bucket are found beside it. An object is looked at once a process, and
fetched where its size, time or tag is another than that of what is there. `file://` names files as they are.
"""

from __future__ import annotations

import json
import os
import re
import time
import uuid
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from sdbatch.errors import InputError, ModelError
from sdbatch.sources.hashes import cache_folder

SCHEMES = ("s3", "gs", "memory")
"""Of buckets; `memory` is fsspec's own, which lives as long as the process."""
PACKAGES = {"s3": "sdbatch[s3]", "gs": "sdbatch[gs]"}
TRIES, WAIT_SECONDS = 5, 0.3
"""How often a bucket is asked, and how long is waited before the second time; twice as long each time after."""
SECONDS = 60.0
"""How long one answer may take."""
_URL = re.compile(r"(s3|gs|memory|file):/+([^\0]*)\Z", re.DOTALL)
_TELLING = ("size", "ETag", "etag", "LastModified", "created")
"""What file systems tell of an object that changes with it."""
_looked: set[Path] = set()
Found = TypeVar("Found")


def is_url(text: str) -> bool:
    """Whether a name is a URL of a kind that is read here."""
    return re.match(rf"({'|'.join((*SCHEMES, 'file'))})://", text) is not None


def located(given: Path | str) -> Path:
    """Where a URL is on this machine; other paths as they are. `Path` takes one of the slashes, which is no matter.

    Raises:
        InputError: its path leads out of the bucket.
    """
    found = _URL.match(str(given))
    if found is None:
        return Path(given)
    scheme, rest = found[1], found[2]
    if scheme == "file":
        return Path("/" + rest)
    if any(part in ("", ".", "..") for part in rest.rstrip("/").split("/")):
        raise InputError(f"{scheme}://{rest}: is no object of a bucket")
    return root() / scheme / rest.rstrip("/")


def root() -> Path:
    """The folder of all buckets."""
    return Path(os.path.abspath(cache_folder() / "urls"))


def url(path: Path) -> str | None:
    """The URL of a place in the folder of all buckets; None for other paths."""
    whole, folder = os.path.abspath(path), f"{root()}{os.sep}"
    if not whole.startswith(folder):
        return None
    scheme, _, rest = whole.removeprefix(folder).replace(os.sep, "/").partition("/")
    return f"{scheme}://{rest}"


def sent(path: Path) -> Path:
    """A path for another machine, whose cache may lie elsewhere: `located` finds its place there."""
    return Path(url(path) or os.path.abspath(path))


@cache
def system(scheme: str) -> Any:
    """fsspec's file system of a scheme.

    Raises:
        InputError: its package is not installed.
    """
    import fsspec

    options: dict[str, Any] = {"use_listings_cache": False, "skip_instance_cache": True}
    if scheme == "s3":
        timeouts = {"connect_timeout": 10, "read_timeout": SECONDS, "retries": {"total_max_attempts": 1}}
        options |= {"config_kwargs": timeouts}
    try:
        return fsspec.filesystem(scheme, **({} if scheme == "memory" else options))
    except ImportError as error:
        package = PACKAGES.get(scheme, scheme)
        raise InputError(f'{scheme}:// needs a package that is not installed: pip install "{package}"') from error


def asked(url: str, ask: Callable[[], Found]) -> Found:
    """Ask a bucket, again where it does not answer well, and not for ever.

    Raises:
        FileNotFoundError, FileExistsError, PermissionError: as it answers.
        OSError: it gave no answer, with the last reason.
    """
    for attempt in range(TRIES):
        try:
            return ask()
        except (FileNotFoundError, FileExistsError, PermissionError):
            raise
        except Exception as error:  # each of several libraries below has errors of its own for one and the same
            if attempt == TRIES - 1:
                said = " ".join(str(error).split())[:300] or type(error).__name__
                raise OSError(f"{url}: no answer after {TRIES} tries: {said}") from error
            time.sleep(WAIT_SECONDS * 2**attempt)
    raise AssertionError


def present(path: Path) -> Path:
    """Have what a path of a bucket's folder stands for there, as it is in the bucket now; other paths are left alone.

    What the bucket does not have is taken away.

    Raises:
        OSError: the bucket does not answer, or may not be read.
    """
    name = url(path)
    if name is None or path in _looked:
        return path
    files = system(name.partition("://")[0])
    try:
        info = asked(name, lambda: files.info(name))
    except FileNotFoundError:
        info = None
    if info is None:
        path.unlink(missing_ok=True)
    elif info["type"] == "file":
        _fetch(name, path, json.dumps([str(info.get(key)) for key in _TELLING]))
    _looked.add(path)
    return path


def looked(title: str, look: Callable[[], Found]) -> Found:
    """What a look into a bucket brings, for a model; on a disk it cannot fail.

    Args:
        title: the model, as errors name it.

    Raises:
        ModelError: the bucket does not answer, or may not be read.
    """
    try:
        return look()
    except OSError as error:
        raise ModelError(f"{title}: {error.strerror or error}") from error


def forget(path: Path) -> None:
    """Look anew the next time."""
    _looked.discard(path)


def _fetch(name: str, path: Path, tag: str) -> None:
    note = _beside("tags", path)
    try:
        if path.is_file() and note.read_text("utf-8") == tag:
            return
    except OSError:
        pass
    data = asked(name, lambda: system(name.partition("://")[0]).cat_file(name))
    for target, written in ((path, data), (note, tag.encode())):
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".part-{uuid.uuid4().hex}")
        part.write_bytes(written)
        os.replace(part, target)


def _beside(kind: str, path: Path) -> Path:
    """Where what is noted of a place is kept: in a tree of its own, so that the objects' has nothing else in it."""
    return root().with_name(kind) / Path(os.path.abspath(path)).relative_to(root())


def folder(path: Path, *, exact: bool = False) -> Path:
    """Have a whole folder there, such as a model's; of several processes of a machine one fetches, and the others wait.

    Args:
        exact: what the bucket does not have is taken away.

    Raises:
        OSError: the bucket does not answer, or may not be read.
    """
    name = url(path)
    if name is None or (path in _looked and not exact):
        return path
    from filelock import FileLock

    lock = _beside("locks", path)
    lock.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(lock.with_name(f"{lock.name}.lock")):
        files = system(name.partition("://")[0])
        there = {
            located(f"{name.partition('://')[0]}://{one.lstrip('/')}") for one in asked(name, lambda: files.find(name))
        }
        for one in sorted(there):
            present(one)
        if exact and path.is_dir():
            for one in path.rglob("*"):
                if one.is_file() and one not in there:
                    one.unlink()
    _looked.add(path)
    return path


def glob(pattern: str) -> list[str]:
    """URLs that match a pattern, sorted.

    Raises:
        OSError: the bucket does not answer, or may not be read.
    """
    scheme = pattern.partition("://")[0]
    found = asked(pattern, lambda: system(scheme).glob(pattern))
    return sorted(f"{scheme}://{one.lstrip('/')}" for one in found)
