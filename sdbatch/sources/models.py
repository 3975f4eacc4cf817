"""Model names → folders on this machine, pinned and hashed. Reads configurations, never weights into memory."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdbatch.errors import ModelError
from sdbatch.sources.hashes import HashCache

EMBEDDED = Path(__file__).resolve().parent.parent / "demo" / "weights"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_VARIANT = re.compile(r"\.(fp16|bf16|fp32|non_ema|ema)[.-]")
_PATTERNS = ("*.json", "*.txt", "*.model", "*/*.safetensors", "*.safetensors")
_PICKLES = (".ckpt", ".pt", ".pth", ".bin")


@dataclass(frozen=True, slots=True)
class Model:
    """A model as found.

    Attributes:
        name: as the spec names it.
        path: its diffusers folder.
        revision: the hub commit, or None.
        kind: what it is, such as `sd` or `sd-inpaint`.
        hash: sha256 over the names and contents of its files.
        size: its own width and height in pixels.
        modes: the modes it can do.
    """

    name: str
    path: Path
    revision: str | None
    kind: str
    hash: str
    size: tuple[int, int]
    modes: tuple[str, ...]


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
            ModelError: it is missing, broken, a pickle, or of a layout that is not read yet.
        """
        key = (name, revision)
        if key not in self._found:
            path, commit = self._locate(name, revision or self._pins.get(name))
            self._found[key] = _describe(name, path, commit, self._cache)
            self._cache.save()
        return self._found[key]

    def found(self) -> list[Model]:
        """The models looked up so far."""
        return list(self._found.values())

    def _locate(self, name: str, revision: str | None) -> tuple[Path, str | None]:
        if name.startswith("demo") and "/" not in name:
            path = EMBEDDED / name
            if not path.is_dir():
                there = ", ".join(embedded())
                raise ModelError(f"model {name!r}: no such embedded model; there are: {there}")
            return path, None
        path = (self._base / Path(name).expanduser()).absolute()
        if path.suffix in _PICKLES:
            raise ModelError(f"model {name!r}: {path.suffix} files are pickles, which can run code, and are not read")
        if path.is_dir():
            return path, None
        if path.suffix == ".safetensors":
            said = "single-file checkpoints are not read yet" if path.exists() else "no such file"
            raise ModelError(f"model {name!r}: {said}; use a diffusers folder or a Hugging Face id")
        if _HUB_ID.fullmatch(name) and not name.startswith((".", "/")):
            return _snapshot(name, revision)
        raise ModelError(
            f"model {name!r}: no such folder ({path}), and not a Hugging Face id (owner/name) or one of "
            f"{', '.join(embedded())}"
        )


def embedded() -> list[str]:
    """Names of the models that come with the package."""
    return sorted(path.parent.name for path in EMBEDDED.glob("demo*/model_index.json"))


def _snapshot(name: str, revision: str | None) -> tuple[Path, str]:
    """The hub's files at a revision, from the local cache where they are complete."""
    from huggingface_hub import constants, snapshot_download

    wanted: dict[str, Any] = {
        "repo_id": name,
        "revision": revision,
        "allow_patterns": list(_PATTERNS),
        "ignore_patterns": ["*.fp16.*", "*.bf16.*", "*non_ema*", "v1-*.safetensors", "safety_checker/*"],
    }
    pinned = revision is not None and re.fullmatch(r"[0-9a-f]{40}", revision) is not None
    try:
        try:
            folder = Path(snapshot_download(**wanted, local_files_only=pinned or constants.HF_HUB_OFFLINE))
        except OSError:
            folder = Path(snapshot_download(**wanted))
    except (OSError, ValueError) as error:  # hub errors are subclasses of these
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        reason = reason.removeprefix("Got: ")
        raise ModelError(f"model {name!r}: not in the local cache, and the hub cannot be asked: {reason}") from error
    return folder, folder.name


def _describe(name: str, path: Path, commit: str | None, cache: HashCache) -> Model:
    index = _json(name, path / "model_index.json")
    unet = _json(name, path / "unet" / "config.json")
    vae = _json(name, path / "vae" / "config.json")
    factor = 2 ** (len(vae.get("block_out_channels", [0] * 4)) - 1)
    side = int(unet.get("sample_size") or 64) * factor
    kind = _kind(str(index.get("_class_name", "")), int(unet.get("in_channels", 4)))
    digest = hashlib.sha256(b"sdbatch-model-1\n")
    for file in _files(path, index):
        try:
            digest.update(f"{file.relative_to(path).as_posix()} {cache.sha256(file)}\n".encode())
        except OSError as error:
            raise ModelError(f"model {name!r}: cannot read {file}: {error.strerror}") from error
    modes = ("txt2img",) if kind == "sd" else ()
    return Model(name, path, commit, kind, digest.hexdigest(), (side, side), modes)


def _kind(class_name: str, channels: int) -> str:
    if "XL" in class_name:
        return "sdxl"
    if not class_name.startswith("StableDiffusion"):
        return class_name or "unknown"
    return {4: "sd", 5: "sd-depth", 7: "sd-upscale", 9: "sd-inpaint"}.get(channels, f"sd-{channels}-channels")


def _files(path: Path, index: dict[str, Any]) -> Iterator[Path]:
    """The files that decide pixels: the index, and each part's configuration and weights."""
    yield path / "model_index.json"
    parts = sorted(part for part, value in index.items() if isinstance(value, list) and value[0] is not None)
    for part in parts:
        if part in ("safety_checker", "feature_extractor"):
            continue
        for file in sorted((path / part).glob("*")):
            if file.suffix in (".json", ".txt", ".safetensors", ".model") and not _VARIANT.search(file.name):
                yield file


def _json(name: str, path: Path) -> dict[str, Any]:
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(f"model {name!r}: {path} is missing; a diffusers folder has it") from error
    except (OSError, ValueError) as error:
        raise ModelError(f"model {name!r}: {path} cannot be read: {error}") from error
    if not isinstance(loaded, dict):
        raise ModelError(f"model {name!r}: {path} is not a JSON object")
    return loaded
