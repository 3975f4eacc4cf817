"""Diffusers folders: what a model is, where its parts lie, and which of its files decide pixels."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdbatch.errors import ModelError

INDEX = "model_index.json"
LIBRARIES = ("diffusers", "transformers")
SAFETY = "safety_checker"
PICKLES = (".ckpt", ".pt", ".pth", ".bin")
SIDE_MAX = 16384
_CODED = ("config.json", "tokenizer_config.json", "preprocessor_config.json")
_LONE = {
    "ControlNetModel": ("controlnet", "diffusers"),
    "AutoencoderKL": ("vae", "diffusers"),
    "CLIPModel": ("clip", "transformers"),
}
_BESIDE = ("preprocessor_config.json", "tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt")
"""What a CLIP model has beside its weights; a lone part of another kind has none of them."""
_CHANNELS = {4: "sd", 5: "sd-depth", 7: "sd-upscale", 9: "sd-inpaint"}
_VARIANT = re.compile(r"\.(fp16|bf16|fp32|non_ema|ema)[.-]")
_TEXTS = (".json", ".txt", ".model")
_INDEX = re.compile(r"\.index(\.\w+)?\.json$")  # how a file's name ends that says which shard holds which weight
_WEIGHTLESS = ("Scheduler", "Tokenizer", "TokenizerFast", "FeatureExtractor", "ImageProcessor", "ImageProcessorPil")


@dataclass(frozen=True, slots=True)
class Layout:
    """What a folder holds.

    Attributes:
        kind: such as `sd`, `sdxl-inpaint`, `controlnet`.
        parts: the folder of each component; one, named by its kind, for a lone part.
        lone: the folder is one part, not a pipeline.
        size: width and height in pixels that the model was made for; (0, 0) for a lone part.
        files: name within the model → the file, of all files that decide pixels.
        networks: the parts that need weights.
    """

    kind: str
    parts: Mapping[str, Path]
    lone: bool
    size: tuple[int, int]
    files: Mapping[str, Path]
    networks: tuple[str, ...]


def read(name: str, path: Path, *, embedded: bool = False) -> Layout:
    """Read a folder's configurations; no weights.

    Args:
        name: of the model, for errors.
        embedded: parts may lie in a sibling folder that `shared.json` names.

    Raises:
        ModelError: it is no folder of a model, or names classes of other libraries.
    """
    if not (path / INDEX).exists() and (path / "config.json").exists():
        return _lone(name, path)
    index = config(name, path / INDEX)
    parts = _parts(name, path, index, _shared(name, path) if embedded else {})
    files = {INDEX: path / INDEX}
    for part, folder in sorted(parts.items()):
        if part == SAFETY or (part == "feature_extractor" and "depth_estimator" not in parts):
            continue  # it sees finished pictures only
        files |= {f"{part}/{file.name}": file for file in _part_files(folder)}
    kind, size = _said(name, path, index, parts)
    return Layout(kind, parts, False, size, files, networks(_classes(name, index)))


def networks(found: Mapping[str, tuple[str, str]]) -> tuple[str, ...]:
    """Of components and their classes those that need weights, but for the safety checker, which may be left out."""
    return tuple(part for part, what in found.items() if part != SAFETY and not what[1].endswith(_WEIGHTLESS))


def check_weights(name: str, path: Path, layout: Layout) -> None:
    """See that every network has its weights, as safetensors; none is read.

    Args:
        path: the model's folder.

    Raises:
        ModelError: weights, or some of their shards, are missing or only there as a pickle.
    """
    for part in layout.networks:
        folder = layout.parts[part]
        there = {file.name for file in folder.iterdir()}
        files = chosen(there)
        if not any(file.endswith(".safetensors") for file in files):
            raise ModelError(no_weights(name, part, there, f"sdbatch models convert {shlex.quote(str(path))}"))
        for index in (file for file in files if _INDEX.search(file)):
            shards = config(name, folder / index).get("weight_map")
            lost = {str(shard) for shard in shards.values()} - there if isinstance(shards, dict) else set()
            if lost:
                raise ModelError(f"model {name!r}: {folder / min(lost)} is missing; {index} names it")


def no_weights(name: str, part: str, there: Iterable[str], convert: str) -> str:
    """What to say of a part that has no safetensors.

    Args:
        there: names of the files that it has.
        convert: what makes safetensors of pickles.
    """
    pickles = sorted(file for file in there if file.endswith(PICKLES))
    if not pickles:
        return f"model {name!r}: {part} has no weights (.safetensors)"
    return (
        f"model {name!r}: {part} is there only as {pickles[0]}, a pickle, which can run code and is not read; "
        f"{convert} makes safetensors of it"
    )


def classes(name: str, path: Path) -> dict[str, tuple[str, str]]:
    """Component → (library, class) of a pipeline's folder, without those that it leaves empty.

    Raises:
        ModelError: the index cannot be read, or names something that is not of diffusers or transformers.
    """
    return _classes(name, config(name, path / INDEX))


def variant(folder: Path) -> str | None:
    """Which files of a part to read: None for its plain safetensors, `fp16` or `bf16` where it has only those."""
    return _variant([file.name for file in folder.glob("*.safetensors")])


def chosen(names: Iterable[str]) -> list[str]:
    """Of a part's files those that are read: its configuration, and of its weights one variant."""
    texts = (name for name in names if name.endswith(_TEXTS))
    files = [name for name in texts if not _INDEX.search(name) or ".safetensors." in name]
    weights = [name for name in names if name.endswith(".safetensors")]
    kind = _variant(weights)
    marks = {name: _VARIANT.search(name) for name in sorted([*files, *weights])}
    return [name for name, mark in marks.items() if mark is None or mark[1] == kind]


def _variant(weights: Iterable[str]) -> str | None:
    marks = [_VARIANT.search(name) for name in weights]
    if None in marks:
        return None
    return next((kind for kind in ("fp16", "bf16") if any(mark and mark[1] == kind for mark in marks)), None)


def config(name: str, path: Path) -> dict[str, Any]:
    """A configuration: one JSON object.

    Raises:
        ModelError: it is missing or broken.
    """
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(f"model {name!r}: {path} is missing; a diffusers folder has it") from error
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"model {name!r}: {path} cannot be read: {error}") from error
    if not isinstance(loaded, dict):
        raise ModelError(f"model {name!r}: {path} is not a JSON object")
    return loaded


def pipeline_kind(class_name: str, channels: int, *, refiner: bool = False) -> str:
    """The kind of a pipeline, by its class and its UNet's input channels."""
    if class_name == "StableDiffusionLatentUpscalePipeline":
        return "sd-latent-upscale"
    if class_name.startswith("StableDiffusionXL"):
        if refiner:
            return "sdxl-refiner"
        return {4: "sdxl", 9: "sdxl-inpaint"}.get(channels, f"sdxl-{channels}-channels")
    if not class_name.startswith("StableDiffusion"):
        return class_name or "unknown"
    return _CHANNELS.get(channels, f"sd-{channels}-channels")


def _lone(name: str, path: Path) -> Layout:
    class_name, kind, _ = lone_class(name, path)
    if not kind:
        said = f"a lone {class_name}" if class_name else "no class in its config.json"
        fits = " or ".join(_LONE)
        raise ModelError(f"model {name!r}: {path} holds {said}; a model has a {INDEX}, a lone part is a {fits}")
    _refuse_code(name, path)
    files = {name: path / name for name in own_files(file.name for file in _part_files(path))}
    return Layout(kind, {kind: path}, True, (0, 0), files, (kind,))


def lone_class(name: str, path: Path) -> tuple[str, str, str]:
    """(class, kind, library) of a lone part's folder; kind and library are empty where it is none.

    Raises:
        ModelError: its configuration is missing or broken.
    """
    said = config(name, path / "config.json")
    named = said.get("architectures")
    class_name = said.get("_class_name") or (named[0] if isinstance(named, list) and named else "")
    return (str(class_name), *_LONE.get(str(class_name), ("", "")))


def own_files(chosen_files: Iterable[str]) -> list[str]:
    """Of a lone part's files those that are its own: licences and the like may lie beside them."""
    return [
        name
        for name in chosen_files
        if name in ("config.json", *_BESIDE)
        or name.endswith(".safetensors")
        or (_INDEX.search(name) and ".safetensors." in name)
    ]


def _pipeline(name: str, index: Mapping[str, Any], parts: Mapping[str, Path]) -> tuple[str, tuple[int, int]]:
    """Kind and size."""
    class_name = str(index.get("_class_name", ""))
    if not class_name.startswith("StableDiffusion"):
        return class_name or "unknown", (0, 0)
    unet, vae = (config(name, parts[part] / "config.json") if part in parts else {} for part in ("unet", "vae"))
    factor = 2 ** min(len(vae.get("block_out_channels", [0] * 4)) - 1, 16)
    side = int(unet.get("sample_size") or 64) * factor
    refiner = "text_encoder" in index and "text_encoder" not in parts
    kind = pipeline_kind(class_name, int(unet.get("in_channels", 4)), refiner=refiner)
    return kind, (side, side)


def _said(name: str, path: Path, index: Mapping[str, Any], parts: Mapping[str, Path]) -> tuple[str, tuple[int, int]]:
    try:
        kind, size = _pipeline(name, index, parts)
    except (TypeError, ValueError, OverflowError) as error:
        raise ModelError(
            f"model {name!r}: {path}: the configuration of its unet or vae makes no sense: {error}"
        ) from error
    if not 0 <= size[0] <= SIDE_MAX:
        raise ModelError(f"model {name!r}: {path}: its configurations make pictures of {size[0]:,} pixels a side")
    return kind, size


def _classes(name: str, index: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    found = {}
    for part, value in index.items():
        if not isinstance(value, list) or len(value) != 2 or value[0] is None:
            continue
        library, class_name = map(str, value)
        if not part.isidentifier():
            raise ModelError(f"model {name!r}: {INDEX} names a part {part[:60]!r}, which is no name of a folder here")
        if library not in LIBRARIES and part != SAFETY:
            raise ModelError(
                f"model {name!r}: {INDEX} asks for {part} of {library}.{class_name}; "
                f"only classes of {' and '.join(LIBRARIES)} are loaded, never a model's own code"
            )
        found[part] = (library, class_name)
    return found


def _parts(name: str, path: Path, index: Mapping[str, Any], shared: Mapping[str, str]) -> dict[str, Path]:
    found = {}
    for part in _classes(name, index):
        folder = path.parent / shared[part] / part if part in shared else path / part
        if folder.is_dir():
            found[part] = folder
            _refuse_code(name, folder)
        elif part != SAFETY:
            raise ModelError(f"model {name!r}: {folder} is missing; {INDEX} names it")
    return found


def _refuse_code(name: str, folder: Path) -> None:
    """A configuration that names code of its own is refused, although nothing here would load that code."""
    for file in _CODED:
        if (folder / file).is_file() and "auto_map" in config(name, folder / file):
            raise ModelError(
                f"model {name!r}: {folder / file} asks for code of its own (auto_map); "
                f"only classes of {' and '.join(LIBRARIES)} are loaded, never a model's own code"
            )


def _shared(name: str, path: Path) -> dict[str, str]:
    if not (path / "shared.json").exists():
        return {}
    return {part: str(folder) for part, folder in config(name, path / "shared.json").items()}


def _part_files(folder: Path) -> list[Path]:
    return [folder / name for name in chosen({file.name for file in folder.glob("*") if file.is_file()})]
