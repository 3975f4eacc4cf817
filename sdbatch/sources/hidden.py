"""Inputs whose names nobody is to learn: rows name them by a keyed hash, and so do records and messages."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

PREFIX = "${INPUT}/"
KEY_BYTES_MIN = 16


@dataclass(frozen=True, slots=True)
class Secret:
    """One input.

    Attributes:
        path: where it is.
        digest: what stands for its content hash: HMAC-SHA256 of its sha256, hex.
    """

    path: Path
    digest: str


@dataclass(frozen=True)
class Hidden:
    """Inputs by the names that rows have for them; travels to workers, and is never written."""

    names: Mapping[str, Secret] = field(repr=False)

    def get(self, name: str) -> Secret | None:
        """The input of a name; None for other names."""
        return self.names.get(name)

    def told(self, name: str, text: str) -> str:
        """A message about an input, with its path and file name replaced by its name."""
        found = self.names.get(name)
        if found is None:
            return text
        for part in (str(found.path), str(found.path.parent), found.path.name, found.path.stem):
            if len(part) > 1:
                text = text.replace(part, name)
        return text


def named(key: bytes, path: Path) -> tuple[str, Secret]:
    """An input's name, and what is behind it. The name follows from its contents and the key.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        whole = hashlib.file_digest(file, "sha256").digest()
    digest = hmac.new(key, whole, hashlib.sha256).hexdigest()
    return f"{PREFIX}{digest[:20]}", Secret(path, digest)
