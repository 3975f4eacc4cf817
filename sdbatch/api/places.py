"""Where what rows name lies: their inputs and models, also after a directory was moved or copied elsewhere."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sdbatch import modes
from sdbatch.sources import files, finetunes, masks, parents, remote
from sdbatch.sources.hidden import Hidden
from sdbatch.sources.names import Sources
from sdbatch.spec.paths import MODELS, PICTURES


@dataclass(frozen=True)
class Base:
    """A folder that paths in rows may start from.

    Attributes:
        within: the folder of the spec that they were first written in, for links; None is `path`.
    """

    path: Path
    within: Path | None = None


@dataclass(frozen=True)
class Place:
    """What finds the names in rows; see `Sources`.

    Attributes:
        pins: (hub model, commit) pairs.
        run: the run directory, for pictures of earlier stages.
        hidden: inputs that go by other names.
    """

    base: Path
    within: Path | None
    home: Path | None
    pins: tuple[tuple[str, str | None], ...]
    run: Path | None = None
    hidden: Hidden | None = field(default=None, compare=False)

    def sources(self) -> Sources:
        """A finder of names here."""
        return Sources(self.base, dict(self.pins), self.home, self.within, self.run, self.hidden)


def inputs(params: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The pictures that a row reads: the parameter, and the path as it stands there."""
    uses = modes.get(str(params.get("mode", "txt2img"))).USES
    for name in sorted(PICTURES & uses):
        yield from ((name, text) for text in _texts(params.get(name)))
    if "mask" in uses:
        yield from (("mask", text) for text in masks.names(params.get("mask")))


def named(params: Mapping[str, Any]) -> list[str]:
    """Everything that a row names and that may be a path."""
    return [text for _, text in inputs(params)] + [text for name in MODELS for text in _texts(params.get(name))]


def nearest(candidates: Sequence[Base], named: Iterable[str]) -> Base:
    """The folder in which most of what is named lies; of those alike the first."""
    texts = set(named)
    return max(candidates, key=lambda candidate: sum(there(candidate.path, text) for text in texts))


def there(base: Path, text: str) -> bool:
    """Whether a name is that of something in a folder."""
    try:
        return files.at(base, text).exists()
    except (OSError, ValueError):  # too long, or with a NUL
        return False


def noted(directory: Path, folder: Path, *, whole: bool = True) -> dict[str, str]:
    """A folder as runs.jsonl has it: seen from the run directory, which may be moved with it, and as it is.

    Args:
        whole: whether the latter may be told.
    """
    there = os.path.abspath(folder)
    relative = os.path.relpath(there, directory.absolute()).replace(os.sep, "/")
    return {"relative": relative, **({"absolute": remote.url(folder) or there} if whole else {})}


def of_run(directory: Path, run: Mapping[str, Any], named: Iterable[str]) -> Place:
    """Where what a run's rows name lies now.

    Args:
        run: its line of runs.jsonl, or a part of it.
        named: what its rows name.
    """
    base = nearest(bases(directory, run), named)
    homes = _candidates(directory, run.get("fine_tunes"))
    home = next((one for one in homes if finetunes.folders(one)), None)
    pins = {model["name"]: model["revision"] for model in run.get("models", ())}
    parents = next((one for one in _candidates(directory, run.get("parents")) if one.is_dir()), directory.absolute())
    return Place(base.path, base.within, home, tuple(sorted(pins.items())), parents)


def bases(directory: Path, run: Mapping[str, Any]) -> list[Base]:
    """Where paths in a run's rows may start: as the run noted it, beside its spec, in its directory."""
    starts, links = _candidates(directory, run.get("base")), _candidates(directory, run.get("links_within"))
    # Both are noted in the same two ways: what moved together is taken together.
    found = [Base(base, links[at] if len(links) == len(starts) else None) for at, base in enumerate(starts)]
    if isinstance(run.get("spec"), str) and "\0" not in run["spec"]:
        found.append(Base(Path(run["spec"]).parent.absolute()))
    return [*found, Base(directory.absolute())]


def _candidates(directory: Path, noted: Any) -> list[Path]:
    if not isinstance(noted, Mapping):
        return []
    given = [noted.get(key) for key in ("relative", "absolute")]
    return [files.at(directory.absolute(), one) for one in given if isinstance(one, str) and "\0" not in one]


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        if parents.read(value) is None:  # that is in the run directory, wherever it is
            yield value
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, dict):
        yield from _texts(list(value.values()))
