"""Files of a hub repository → the hub's cache: what sdbatch reads of a model, and nothing that can run code."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from sdbatch.errors import ModelError
from sdbatch.sources import layouts

CONFIG = "config.json"


class Watcher(Protocol):
    """Is told how a download goes."""

    def begin(self, name: str, commit: str, files: int, size: int) -> None:
        """So many files of `name`, of `size` bytes together, will be fetched."""
        ...

    def received(self, size: int) -> None:
        """So many bytes more are here; negative where some must be fetched again."""
        ...


_watcher: ContextVar[Watcher | None] = ContextVar("watcher", default=None)


@contextmanager
def watching(watcher: Watcher | None) -> Iterator[None]:
    """Tell `watcher`, or no one, of the downloads that happen inside."""
    token = _watcher.set(watcher)
    try:
        yield
    finally:
        _watcher.reset(token)


@dataclass(frozen=True, slots=True)
class File:
    """A file of a repository.

    Attributes:
        name: its path there, with `/`.
        size: in bytes.
        sha256: hex; None where the hub keeps the file in git itself, as it does small ones.
    """

    name: str
    size: int
    sha256: str | None


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository at one commit.

    Attributes:
        name: `owner/name`.
        home: its folder in the cache.
        files: by name.
    """

    name: str
    commit: str
    home: Path
    files: Mapping[str, File]

    @property
    def folder(self) -> Path:
        """Where its files lie in the cache."""
        return self.home / "snapshots" / self.commit


def fetch(there: Repository) -> None:
    """Bring a model's files into the cache; those that are there stay, and one that was cut off goes on.

    Configurations come first and weights last, so that a folder with all its weights is whole.

    Raises:
        ModelError: the repository holds no model that is read, or has weights only as pickles.
        OSError, huggingface_hub.errors.HTTPError: the hub cannot be asked, or the cache cannot be written.
    """
    first = layouts.INDEX if layouts.INDEX in there.files else CONFIG
    if first not in there.files:
        raise ModelError(_no_model(there))
    _bring(there, [first])
    wanted = _pipeline(there) if first == layouts.INDEX else _part(there, "", lone=True)
    lacking = [file for file in wanted if not (there.folder / file).exists()]
    watcher = _watcher.get()
    if watcher and lacking:
        watcher.begin(there.name, there.commit, len(lacking), sum(there.files[file].size for file in lacking))
    _bring(there, lacking, watcher)


def _pipeline(there: Repository) -> list[str]:
    """The files of a pipeline's parts, in the order in which they are fetched."""
    found = layouts.classes(there.name, there.folder)
    needed = layouts.networks(found)
    files: list[str] = []
    for part in found:
        held = _part(there, f"{part}/", lone=part in needed)
        if not held and part != layouts.SAFETY:
            raise ModelError(f"model {there.name!r}: its {layouts.INDEX} names {part}, which it does not hold")
        if part != layouts.SAFETY or any(map(_is_weights, held)):  # a checker without weights is none
            files += held
    # The safety checker may be left out, so its weights must not be the last to come.
    return sorted(files, key=lambda file: (_is_weights(file), not file.startswith(layouts.SAFETY), file))


def _part(there: Repository, prefix: str, *, lone: bool) -> list[str]:
    """The files of one part that are read.

    Args:
        prefix: its folder with `/`, or nothing for the repository's own.
        lone: it needs weights.
    """
    names = {file.removeprefix(prefix) for file in there.files if file.startswith(prefix)}
    names = {name for name in names if "/" not in name}
    files = layouts.chosen(names)
    if lone and names and not any(map(_is_weights, files)):
        convert = "its owner may have them at another revision (--revision); of a copy on disk sdbatch models convert"
        raise ModelError(layouts.no_weights(there.name, prefix.rstrip("/") or "it", names, convert))
    return [prefix + file for file in (files if prefix else layouts.own_files(files))]


def _is_weights(file: str) -> bool:
    return file.endswith(".safetensors")


def _no_model(there: Repository) -> str:
    said = f"model {there.name!r}: the repository has neither {layouts.INDEX} nor {CONFIG}"
    single = sorted(file for file in there.files if _is_weights(file))
    pickles = sorted(file for file in there.files if file.endswith(layouts.PICKLES))
    if single:
        return f"{said}; it holds {_some(single)}: fetch the one you want and name its path"
    return f"{said}; it holds {_some(pickles)}, pickles, which can run code and are not read" if pickles else said


def _some(files: list[str]) -> str:
    return ", ".join(files[:3]) + (f" and {len(files) - 3} more" if len(files) > 3 else "")


def _bring(there: Repository, files: Iterable[str], watcher: Watcher | None = None) -> None:
    from huggingface_hub import hf_hub_download

    counter = _counter(watcher)
    for name in files:
        file = there.files[name]
        if file.sha256:
            _large(there, file, file.sha256, counter)
        # Where the blob is there already, this only links it into the snapshot's folder.
        hf_hub_download(there.name, name, revision=there.commit, tqdm_class=counter)


def _large(there: Repository, file: File, sha256: str, counter: type[Any]) -> None:
    """A large file's blob; what an earlier call left of it is gone on with.

    (huggingface_hub throws away what it has of a file when it is stopped.)
    """
    from filelock import FileLock
    from huggingface_hub import hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    blob = there.home / "blobs" / sha256
    partial = blob.with_name(f"{sha256}.partial")
    lock = there.home.parent / ".locks" / there.home.name / f"{sha256}.partial.lock"
    for folder in (blob.parent, lock.parent):
        folder.mkdir(parents=True, exist_ok=True)
    with FileLock(lock):
        if blob.exists():
            return
        with partial.open("ab") as out:
            if out.tell() > file.size:
                out.truncate(0)
            start = min(out.seek(0, os.SEEK_END), file.size)
            with counter() as told:
                told.update(start)
            http_get(
                hf_hub_url(there.name, file.name, revision=there.commit),
                out,
                resume_size=start,
                headers=build_hf_headers(),
                expected_size=file.size,
                tqdm_class=counter,
            )
        with partial.open("rb") as done:
            found = hashlib.file_digest(done, "sha256").hexdigest()
        if found != sha256:
            partial.unlink()
            raise ModelError(f"model {there.name!r}: {file.name} arrived damaged; fetch it again")
        os.replace(partial, blob)


def _counter(watcher: Watcher | None) -> type[Any]:
    """What the library takes for a progress bar."""

    class Counter:
        def __init__(self, *arguments: object, **options: object) -> None: ...

        def __enter__(self) -> Counter:
            return self

        def __exit__(self, *error: object) -> None: ...

        def update(self, size: float | None = 1) -> None:
            if watcher and size:
                watcher.received(int(size))

    return Counter
