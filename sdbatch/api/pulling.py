"""Fetch a model from the hub into the local cache."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sdbatch import modes
from sdbatch.errors import UsageError
from sdbatch.sources import fetching, hub
from sdbatch.sources.models import ModelSource, installed


def pull(name: str, revision: str | None = None, watcher: fetching.Watcher | None = None) -> dict[str, Any]:
    """Bring a hub model into the cache; gives its name, revision (the commit), path, kind, hash and modes.

    A tag or branch is looked up anew. Files that the cache has are not fetched again, and one that was cut off is
    gone on with.

    Args:
        name: `owner/name`.
        revision: a commit, tag or branch; None is `main`.
        watcher: is told how it goes.

    Raises:
        UsageError: the name is none of the hub's.
        ModelError: the model cannot be had, or is none that is read.
    """
    if name in installed():
        raise UsageError(f"{name!r} is on this machine already, and not from the hub: nothing to pull")
    if not hub.HUB_ID.fullmatch(name):
        raise UsageError(f"{name!r}: not a Hugging Face id (owner/name); only those are pulled")
    with fetching.watching(watcher):
        folder, commit = hub.snapshot(name, revision, pulling=True)
    found = ModelSource(Path.cwd()).resolve(str(folder))
    about = {"path": str(folder), "kind": found.kind, "hash": found.hash, "modes": list(modes.fitting(found.kind))}
    return {"name": name, "revision": commit, **about}
