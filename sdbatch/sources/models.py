"""Model names → models on this machine, pinned and hashed. Reads configurations, never weights into memory."""

from __future__ import annotations

import hashlib
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from sdbatch.errors import ModelError
from sdbatch.sources import files, hub, layouts, realesrgan, remote, single_file
from sdbatch.sources.hashes import HashCache

EMBEDDED = Path(__file__).resolve().parent.parent / "demo" / "weights"


@dataclass(frozen=True, slots=True)
class Model:
    """A model as found.

    Attributes:
        name: as the spec names it.
        path: its diffusers folder, or its .safetensors file.
        revision: the hub commit, or None.
        kind: what it is, such as `sd`, `sd-inpaint`, `controlnet` or `vae`.
        hash: sha256 over the names and contents of its files; of a lone checkpoint, its sha256.
        size: its own width and height in pixels; (0, 0) for a lone part.
        parts: the folder of each component; empty for a single file.
        layout: a pipeline's folder, a single file in the original layout, or a lone part.
    """

    name: str
    path: Path
    revision: str | None
    kind: str
    hash: str
    size: tuple[int, int]
    parts: Mapping[str, Path] = field(hash=False)
    layout: Literal["diffusers", "single-file", "part"]


class ModelSource:
    """Finds models; each (name, revision) is looked up once.

    Args:
        base: relative folders start here.
        pins: revisions by name, for names asked for without one: a directory keeps the commit it began with.
    """

    def __init__(
        self, base: Path, pins: Mapping[str, str | None] | None = None, cache: HashCache | None = None
    ) -> None:
        self._base, self._pins, self._cache = base, pins or {}, cache or HashCache()
        self._found: dict[tuple[str, str | None], Model] = {}

    def resolve(self, name: str, revision: str | None = None) -> Model:
        """Find a model and hash its files.

        Raises:
            ModelError: it is missing, broken, a pickle, or of a layout that is not read.
        """
        key = (name, revision)
        if key not in self._found:
            if name in realesrgan.NETWORKS:
                self._found[key] = self._network(name)
            else:
                path, commit = self._locate(name, revision or self._pins.get(name))
                self._found[key] = self._describe(name, path, commit)
            self._cache.save()
        return self._found[key]

    def hold(self, model: Model) -> None:
        """Take a model that is no file as found under its name."""
        self._found[model.name, None] = model

    def found(self) -> list[Model]:
        """The models looked up so far."""
        return list(self._found.values())

    def _network(self, name: str) -> Model:
        files = {file.name: file for file in realesrgan.files(name)}
        path = next(iter(files.values()))
        return Model(name, path, None, "realesrgan", self._digest(name, files), (0, 0), {}, "part")

    def _locate(self, name: str, revision: str | None) -> tuple[Path, str | None]:
        if name.startswith("demo") and "/" not in name:
            path = EMBEDDED / name
            if not path.is_dir():
                there = ", ".join(embedded())
                raise ModelError(f"model {name!r}: no such embedded model; there are: {there}")
            return path, None
        path = files.at(self._base, os.path.expanduser(name))
        remote.looked(f"model {name!r}", lambda: _fetched(path))
        if path.suffix in layouts.PICKLES:
            raise ModelError(
                f"model {name!r}: {path.suffix} files are pickles, which can run code, and are not read; "
                f"sdbatch models convert {shlex.quote(str(path))} makes safetensors of it"
            )
        if os.path.isdir(path):  # unlike Path.is_dir, no error for a name that is too long
            return path, None
        if path.suffix == ".safetensors":
            if not os.path.exists(path):
                raise ModelError(f"model {name!r}: no such file: {path}")
            return path, None
        if hub.HUB_ID.fullmatch(name) and not name.startswith((".", "/")):
            return hub.snapshot(name, revision)
        raise ModelError(
            f"model {name!r}: no such folder ({path}), and not a Hugging Face id (owner/name) or one of "
            f"{', '.join([*embedded(), *realesrgan.NETWORKS])}"
        )

    def _describe(self, name: str, path: Path, commit: str | None) -> Model:
        if path.is_file():
            single = single_file.read(name, path)
            digest = self._sha256(name, path)
            if single.files:
                digest = self._digest(name, {"checkpoint": path, **single.files})
            return Model(name, path, commit, single.kind, digest, single.size, {}, "single-file")
        found = layouts.read(name, path, embedded=path.parent == EMBEDDED)
        layouts.check_weights(name, path, found)
        digest = self._digest(name, found.files)
        layout: Literal["part", "diffusers"] = "part" if found.lone else "diffusers"
        return Model(name, path, commit, found.kind, digest, found.size, found.parts, layout)

    def _digest(self, name: str, files: Mapping[str, Path]) -> str:
        digest = hashlib.sha256(b"sdbatch-model-1\n")
        for label, file in files.items():
            digest.update(f"{label} {self._sha256(name, file)}\n".encode())
        return digest.hexdigest()

    def _sha256(self, name: str, file: Path) -> str:
        try:
            return self._cache.sha256(file)
        except OSError as error:
            raise ModelError(f"model {name!r}: cannot read {file}: {error.strerror}") from error


def _fetched(path: Path) -> Path:
    """The path, with what lies there in a bucket fetched."""
    return remote.present(path) if path.suffix == ".safetensors" else remote.folder(path)


def installed() -> list[str]:
    """Names of the models on this machine that need no path: the embedded ones, and those of installed extras."""
    return [*embedded(), *realesrgan.installed()]


def embedded() -> list[str]:
    """Names of the models that come with the package."""
    return sorted(
        {file.parent.name for kind in (layouts.INDEX, "config.json") for file in EMBEDDED.glob(f"demo*/{kind}")}
    )
