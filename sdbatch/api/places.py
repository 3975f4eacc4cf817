"""Where what rows name lies: their inputs and models, also after a directory was moved or copied elsewhere."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdbatch import modes
from sdbatch.sources import files, finetunes, masks
from sdbatch.sources.names import Sources
from sdbatch.spec.paths import MODELS, PICTURES


@dataclass(frozen=True)
class Place:
    """What finds the names in rows; see `Sources`.

    Attributes:
        pins: (hub model, commit) pairs.
    """

    base: Path
    home: Path | None
    pins: tuple[tuple[str, str | None], ...]

    def sources(self) -> Sources:
        """A finder of names here."""
        return Sources(self.base, dict(self.pins), self.home)


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


def nearest(candidates: Sequence[Path], named: Iterable[str]) -> Path:
    """The folder in which most of what is named lies; of those alike the first."""
    texts = set(named)
    return max(candidates, key=lambda base: sum(there(base, text) for text in texts))


def there(base: Path, text: str) -> bool:
    """Whether a name is that of something in a folder."""
    try:
        return files.at(base, text).exists()
    except (OSError, ValueError):  # too long, or with a NUL
        return False


def noted(directory: Path, folder: Path) -> dict[str, str]:
    """A folder as runs.jsonl has it: seen from the run directory, which may be moved with it, and as it is."""
    whole = os.path.abspath(folder)
    return {"relative": os.path.relpath(whole, directory.absolute()).replace(os.sep, "/"), "absolute": whole}


def of_run(directory: Path, run: Mapping[str, Any], named: Iterable[str]) -> Place:
    """Where what a run's rows name lies now.

    Args:
        run: its line of runs.jsonl, or a part of it.
        named: what its rows name.
    """
    spec = [Path(run["spec"]).parent] if isinstance(run.get("spec"), str) else []
    bases = [*_candidates(directory, run.get("base")), *spec, directory]
    base = nearest([Path(os.path.abspath(one)) for one in bases], named)
    homes = _candidates(directory, run.get("fine_tunes"))
    home = next((Path(os.path.abspath(one)) for one in homes if finetunes.folders(one)), None)
    pins = {model["name"]: model["revision"] for model in run.get("models", ())}
    return Place(base, home, tuple(sorted(pins.items())))


def _candidates(directory: Path, noted: Any) -> list[Path]:
    if not isinstance(noted, Mapping):
        return []
    return [directory / noted[key] for key in ("relative", "absolute") if isinstance(noted.get(key), str)]


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, dict):
        yield from _texts(list(value.values()))
