"""Hugging Face ids → folders of the hub's cache, each at one commit."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sdbatch.errors import ModelError
from sdbatch.sources import fetching, layouts

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MAIN = "main"


def snapshot(name: str, revision: str | None, *, pulling: bool = False) -> tuple[Path, str]:
    """A model's files at a revision: (folder, commit).

    A commit whose files are all in the cache is taken from there, and no one is asked. Any other revision is looked
    up at the hub, and what the cache lacks is fetched; where the hub cannot be reached, or may not be, the commit
    that the cache has for that revision counts.

    Args:
        revision: a commit, tag or branch; None is `main`.
        pulling: do not take what the cache has for a tag or branch, and fetch an optional part that it lacks.

    Raises:
        ModelError: the files are not in the cache and cannot be fetched, or are no model that is read.
    """
    from huggingface_hub import constants

    wanted = revision or _MAIN
    home = Path(constants.HF_HUB_CACHE) / f"models--{name.replace('/', '--')}"
    pinned = _COMMIT.fullmatch(wanted) is not None
    commit = wanted if pinned else _known(home, wanted)
    cached = home / "snapshots" / commit if commit else None
    whole = cached is not None and _whole(name, cached)
    offline = constants.HF_HUB_OFFLINE
    if cached and commit and whole and (offline or pinned) and not (pulling and not offline):
        return cached, commit
    if offline:
        raise ModelError(_offline(name, revision))
    try:
        there = _look(name, wanted, home)
        fetching.fetch(there)
        _remember(home, wanted, there.commit)
    except _troubles() as error:
        if cached and commit and whole and _unreachable(error) and (pinned or not pulling):
            return cached, commit
        raise ModelError(_say(name, revision, error)) from error
    return there.folder, there.commit


def cached() -> Iterator[tuple[str, str, Path]]:
    """What the cache holds of models: (name, commit, folder) of each snapshot, whole or not."""
    from huggingface_hub import constants

    for folder in sorted(Path(constants.HF_HUB_CACHE).glob("models--*/snapshots/*")):
        if any((folder / name).exists() for name in (layouts.INDEX, fetching.CONFIG)):
            name = folder.parents[1].name.removeprefix("models--").replace("--", "/")
            yield name, folder.name, folder


def _known(home: Path, revision: str) -> str | None:
    """The commit that the cache has for a tag or branch."""
    try:
        commit = (home / "refs" / revision).read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return None
    return commit if _COMMIT.fullmatch(commit) else None


def _remember(home: Path, revision: str, commit: str) -> None:
    """Write down which commit a tag or branch was, where the hub's own library does."""
    if revision == commit or ".." in revision or _known(home, revision) == commit:
        return
    path = home / "refs" / revision
    path.parent.mkdir(parents=True, exist_ok=True)
    made = path.with_name(f".{path.name}.{commit}")
    made.write_text(commit, encoding="ascii")
    made.replace(path)


def _whole(name: str, folder: Path) -> bool:
    """Whether all that is read of a model is in its folder of the cache."""
    try:
        layouts.check_weights(name, folder, layouts.read(name, folder))
    except ModelError:
        return False
    return True


def _look(name: str, revision: str, home: Path) -> fetching.Repository:
    """Ask the hub for the commit of a revision and the files there."""
    from huggingface_hub import HfApi

    info = HfApi().model_info(name, revision=revision, files_metadata=True)
    files = {}
    for one in info.siblings or ():
        sha256 = one.lfs.sha256 if one.lfs and _SHA256.fullmatch(one.lfs.sha256 or "") else None
        files[one.rfilename] = fetching.File(one.rfilename, int(one.size or 0), sha256)
    return fetching.Repository(name, str(info.sha), home, files)


def _troubles() -> tuple[type[Exception], ...]:
    """What the hub's library raises when it cannot be asked; the transport's own errors are HTTPErrors."""
    from huggingface_hub import errors

    return (errors.HTTPError, errors.EntryNotFoundError, OSError, ValueError)


def _unreachable(error: Exception) -> bool:
    """Whether the hub gave no answer, rather than one that says no."""
    from huggingface_hub import errors

    status = _status(error)
    return status >= 500 or (not status and isinstance(error, (errors.HTTPError, ConnectionError, TimeoutError)))


def _status(error: Exception) -> int:
    return int(getattr(getattr(error, "response", None), "status_code", None) or 0)


def _offline(name: str, revision: str | None) -> str:
    return (
        f"model {name!r}: {_at(revision)}is not in the local cache, and HF_HUB_OFFLINE is set; "
        f"where there is a network, {_pull(name, revision)} fetches it"
    )


def _at(revision: str | None) -> str:
    return f"revision {revision!r} " if revision else ""


def _pull(name: str, revision: str | None) -> str:
    return f"sdbatch models pull {name}" + (f" --revision {revision}" if revision else "")


def _say(name: str, revision: str | None, error: Exception) -> str:
    """One line for what went wrong."""
    from huggingface_hub import constants, errors, get_token

    said, status, endpoint = f"model {name!r}: ", _status(error), constants.ENDPOINT
    account = "the account of your token" if get_token() else "your account"
    if isinstance(error, errors.GatedRepoError):
        return (
            f"{said}the repository is gated: accept its terms at {endpoint}/{name} with {account}, "
            "and set HF_TOKEN to a token of that account"
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{said}the repository has no revision {revision or _MAIN!r}"
    if status in (401, 403, 404) and not isinstance(error, errors.EntryNotFoundError):
        if status in (401, 403) and get_token():
            return f"{said}{endpoint} does not let the token of HF_TOKEN read it (HTTP {status})"
        return f"{said}no such folder here and no such repository at {endpoint}, or a private one: set HF_TOKEN"
    if status:
        return f"{said}{endpoint} answered with HTTP {status}; {_pull(name, revision)} tries again"
    if _unreachable(error):
        return (
            f"{said}{_at(revision)}is not in the local cache, and {endpoint} cannot be reached ({_first(error)}); "
            f"{_pull(name, revision)} tries again"
        )
    return f"{said}cannot be fetched from {endpoint}: {_first(error)}; {_pull(name, revision)} goes on"


def _first(error: Any) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__
