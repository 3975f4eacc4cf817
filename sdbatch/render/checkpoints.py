"""A model as found → its components on the CPU: safetensors only, local files only, never a model's own code."""

from __future__ import annotations

import functools
from typing import Any

import diffusers
import torch
import transformers
from safetensors import SafetensorError
from safetensors.torch import load_file

from sdbatch.errors import ModelError
from sdbatch.render import original
from sdbatch.sources import layouts, single_file
from sdbatch.sources.models import Model

# What reading a broken file or a folder of another make ends in, in these libraries.
_BROKEN = (OSError, ValueError, KeyError, RuntimeError, TypeError, AttributeError, SafetensorError)
_PROCESSORS = {
    "CLIPFeatureExtractor": "CLIPImageProcessorPil",
    "CLIPImageProcessor": "CLIPImageProcessorPil",
    "DPTFeatureExtractor": "DPTImageProcessorPil",
    "DPTImageProcessor": "DPTImageProcessorPil",
}


_READING = {
    "image_processor": ("transformers", "CLIPImageProcessor"),
    "tokenizer": ("transformers", "CLIPTokenizer"),
}
"""What a CLIP model's folder has besides the network."""


def components(model: Model, dtype: torch.dtype) -> dict[str, Any]:
    """Component name → the loaded component, of all but the safety checker, on the CPU.

    Those of a pipeline's folder are what its `from_pretrained` would load, bit for bit. A lone part
    gives one, under its kind: `controlnet`, `vae`, `clip` (with `image_processor` and `tokenizer`) or `aesthetic`.

    Args:
        dtype: of the weights.

    Raises:
        ModelError: a part is missing, broken, only there as a pickle, or of a class that is not loaded.
    """
    if model.layout == "single-file":
        return _single_file(model, dtype)
    if model.layout == "part":
        class_name, kind, library = layouts.lone_class(model.name, model.path)
        beside = _READING if kind == "clip" else {}
        return {part: _part(model, part, what, dtype) for part, what in {kind: (library, class_name), **beside}.items()}
    found = layouts.classes(model.name, model.path)
    return {
        part: _part(model, part, found[part], dtype) for part in found if part in model.parts and part != layouts.SAFETY
    }


def _single_file(model: Model, dtype: torch.dtype) -> dict[str, Any]:
    found = single_file.read(model.name, model.path)
    try:
        state = load_file(str(model.path))
    except (OSError, SafetensorError) as error:
        raise ModelError(f"model {model.name!r}: {model.path} is no whole safetensors file: {_first(error)}") from error
    if found.kind == "aesthetic":
        return {"aesthetic": _layers(model, state, dtype)}
    if found.kind == "vae":
        return {"vae": _made(model, "vae", diffusers.AutoencoderKL, state, found, dtype)}
    made = {}
    for part, what in layouts.classes(model.name, found.config).items():
        if part in (layouts.SAFETY, "feature_extractor"):
            continue
        made[part] = _made(model, part, part_class(model, part, *what), state, found, dtype)
    return made


def _layers(model: Model, state: original.State, dtype: torch.dtype) -> torch.nn.Module:
    """Linear layers, one after another."""
    layers = []
    for name in single_file.linear_layers(single_file.header(model.name, model.path)):
        weight, bias = state[f"{name}weight"], state[f"{name}bias"]
        layer = torch.nn.Linear(weight.shape[1], weight.shape[0], dtype=dtype)
        layer.load_state_dict({"weight": weight, "bias": bias})
        layers.append(layer)
    return torch.nn.Sequential(*layers).requires_grad_(False)


def _made(
    model: Model, part: str, kind: Any, state: original.State, found: single_file.SingleFile, dtype: torch.dtype
) -> Any:
    """One component out of a single file's tensors.

    Raises:
        ModelError: the tensors do not make it.
    """
    try:
        return original.component(model.name, part, kind, state, found, dtype)
    except _BROKEN as error:
        raise ModelError(
            f"model {model.name!r}: {part} cannot be loaded as {kind.__name__}: {_first(error)}"
        ) from error


def _part(model: Model, part: str, what: tuple[str, str], dtype: torch.dtype) -> Any:
    """One component by the class that the index names.

    Raises:
        ModelError: it cannot be loaded.
    """
    kind, folder = part_class(model, part, *what), model.parts.get(part, model.path)
    options: dict[str, Any] = {"local_files_only": True}
    if issubclass(kind, torch.nn.Module):
        precision = "torch_dtype" if what[0] == "diffusers" else "dtype"
        options |= {"use_safetensors": True, "variant": layouts.variant(folder), precision: dtype}
    try:
        return kind.from_pretrained(str(folder), **options)
    except _BROKEN as error:
        raise ModelError(f"model {model.name!r}: {part} cannot be loaded as {what[1]}: {_first(error)}") from error


def part_class(model: Model, part: str, library: str, class_name: str) -> Any:
    """The class that an index names for a component, if it is one that models are made of.

    Raises:
        ModelError: it is none.
    """
    package = {"diffusers": diffusers, "transformers": transformers}[library]
    if library == "transformers":
        class_name = _PROCESSORS.get(class_name, class_name)  # the others need torchvision
    found = getattr(package, class_name, None)
    if not isinstance(found, type) or not issubclass(found, _makers()):
        raise ModelError(f"model {model.name!r}: {part} is of {library}.{class_name}, which is no part of a model here")
    return found


@functools.cache
def _makers() -> tuple[type, ...]:
    from transformers.image_processing_base import ImageProcessingMixin

    return (
        diffusers.ModelMixin,
        diffusers.SchedulerMixin,
        transformers.PreTrainedModel,
        transformers.PreTrainedTokenizerBase,
        ImageProcessingMixin,
    )


def _first(error: Exception) -> str:
    """The first line of what a library said, which may go on for pages."""
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__
