"""Names of input pictures → files on this machine, hashed and measured by their headers alone."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdbatch.errors import InputError
from sdbatch.sources import files, parents
from sdbatch.sources.hashes import HashCache
from sdbatch.sources.hidden import Hidden, Secret

MISSING = "missing:"
"""Begins the hash of an input that cannot be read, before its whole path: its row has an id all the same, which is
one, however a spec and a run directory each spell the path."""
_SAVE_FIRST = 64


@dataclass(frozen=True, slots=True)
class Input:
    """An input picture, mask or depth map as found.

    Attributes:
        name: as the spec names it.
        path: where it is; not necessarily there.
        sha256: of its bytes; `missing:PATH` where they cannot be read.
        width, height: pixels, upright; 0 where its header cannot be read.
        problem: one sentence, where something is wrong already; what only decoding shows is not looked for.
    """

    name: str
    path: Path
    sha256: str
    width: int
    height: int
    problem: str | None = None


class InputSource:
    """Finds inputs; each name is looked up once. May be used by several threads.

    Args:
        base: relative paths start here.
        within: links lead no further than from here; see `files.reached`. None is `base`.
        run: the run directory, where pictures of earlier stages are.
        hidden: inputs that go by other names.
    """

    def __init__(
        self,
        base: Path,
        cache: HashCache | None = None,
        within: Path | None = None,
        run: Path | None = None,
        hidden: Hidden | None = None,
    ) -> None:
        self._base, self._within, self._cache, self._run = base, within, cache or HashCache(), run
        self._hidden = hidden or Hidden({})
        self._found: dict[str, Input] = {}
        self._lock = threading.Lock()
        self._save_at = _SAVE_FIRST

    def path(self, name: str) -> Path:
        """Where an input of this name would be."""
        if (secret := self._hidden.get(name)) is not None:
            return secret.path
        parent = parents.read(name)
        return files.at(self._base, name) if parent is None or self._run is None else self._run / parent.path

    def real(self, name: str) -> str:
        """An input's name, or where it is if that is hidden."""
        secret = self._hidden.get(name)
        return name if secret is None else str(secret.path)

    def find(self, name: str) -> Input:
        """Find an input, hash it and measure it; what is wrong with it is said, not raised."""
        with self._lock:
            if name not in self._found:
                self._found[name] = self._describe(name)
                if len(self._found) >= self._save_at:  # seldom: each time writes the whole cache
                    self._save_at *= 2
                    self._cache.save()
            return self._found[name]

    def found(self) -> list[Input]:
        """The inputs looked up so far."""
        with self._lock:
            return list(self._found.values())

    def save(self) -> None:
        """Keep the hashes for the next run."""
        with self._lock:
            self._cache.save()

    def told(self, params: Mapping[str, Any], text: str) -> str:
        """A message about a row, which names its inputs as the row does."""
        from sdbatch.sources import masks

        for name in (params.get("image"), *masks.names(params.get("mask"))):
            text = self._hidden.told(name, text) if isinstance(name, str) else text
        return text

    def _secret(self, name: str, secret: Secret) -> Input:
        """A hidden input: nothing of it is remembered, and nothing is said of where it is."""
        from sdbatch.sources import depths

        try:
            width, height = depths.size(secret.path)
        except InputError as error:
            return Input(name, secret.path, secret.digest, 0, 0, self._hidden.told(name, str(error)))
        return Input(name, secret.path, secret.digest, width, height)

    def _describe(self, name: str) -> Input:
        if (secret := self._hidden.get(name)) is not None:
            return self._secret(name, secret)
        path, parent = self.path(name), parents.read(name)
        try:
            if parent is None:
                files.reached(self._base, name, self._within)
            elif self._run is None or not parent.inside:
                raise InputError(f"{files.show(name)}: is a picture of an earlier stage, and not one of this run")
            else:
                files.within(path, self._run)
            with files.opened(path):
                pass
            digest = self._cache.sha256(path)
        except InputError as error:
            return Input(name, path, MISSING + os.path.abspath(path), 0, 0, str(error))
        except OSError as error:
            said = f"{files.show(path)}: cannot be read: {error.strerror or error}"
            return Input(name, path, MISSING + os.path.abspath(path), 0, 0, said)
        from sdbatch.sources import depths  # Pillow and numpy, only where there are inputs

        try:
            width, height = depths.size(path)
        except InputError as error:
            return Input(name, path, digest, 0, 0, str(error))
        return Input(name, path, digest, width, height)
