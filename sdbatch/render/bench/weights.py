"""A model shape with random weights, made where and as they are used: no file, no copy, no default initialisation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import psutil
import torch
from accelerate import init_empty_weights

from sdbatch.errors import UsageError
from sdbatch.render import checkpoints, original
from sdbatch.sources import layouts
from sdbatch.sources.models import Model
from sdbatch.sources.shapes import SHAPES
from sdbatch.sources.single_file import SingleFile

SEED = 20_260_101
Networks = dict[str, torch.nn.Module]


def components(model: Model, dtype: torch.dtype, device: str) -> dict[str, Any]:
    """Component name → component, as `checkpoints.components` gives them, the networks with weights drawn here.

    Args:
        model: of `shapes.model`.

    Raises:
        UsageError: the weights alone do not fit.
    """
    found = networks(model)
    needed = sum(weights.numel() for network in found.values() for weights in network.parameters()) * dtype.itemsize
    free = _free(device)
    if needed > free:
        raise UsageError(
            f"{model.name} in {str(dtype).removeprefix('torch.')}: its weights take {needed / 2**30:.1f} GiB, "
            f"and {device} has {free / 2**30:.1f} GiB free"
        )
    generator = torch.Generator(device).manual_seed(SEED)
    for network in found.values():
        fill(network, dtype, device, generator)
    return {**_others(model, dtype), **found}


def networks(model: Model) -> Networks:
    """The networks of a shape without memory for their weights: every parameter is on the device `meta`."""
    found: Networks = {}
    for part, (library, class_name) in layouts.classes(model.name, model.path).items():
        if part not in layouts.networks({part: (library, class_name)}):
            continue
        kind = checkpoints.part_class(model, part, library, class_name)
        folder = model.path / part
        with init_empty_weights(include_buffers=False):
            if library == "diffusers":
                network = kind.from_config(kind.load_config(str(folder), local_files_only=True))
            else:
                config = kind.config_class.from_pretrained(str(folder), local_files_only=True)
                network = kind(config)
        found[part] = network.eval().requires_grad_(False)
    return found


def fill(network: torch.nn.Module, dtype: torch.dtype, device: str, generator: torch.Generator) -> None:
    """Give a network of `networks` weights, in place.

    Matrices and kernels are normal with variance 1 / inputs, as LeCun et al. (1998, "Efficient BackProp") have it,
    so that activations neither vanish nor overflow float16; norms are 1, biases 0.
    """
    for path, module in network.named_modules():
        for name, weights in list(module.named_parameters(path, recurse=False)):
            own = name.rpartition(".")[2]
            made = torch.empty(weights.shape, dtype=dtype, device=device)
            if weights.dim() >= 2:
                made.normal_(0.0, (weights.numel() / weights.shape[0]) ** -0.5, generator=generator)
            else:
                made.fill_(0.0 if own.endswith("bias") else 1.0)
            module.register_parameter(own, torch.nn.Parameter(made, requires_grad=False))
    network.to(device)  # the buffers


def counts(parts: Mapping[str, Any]) -> dict[str, int]:
    """How many parameters each network has."""
    return {
        part: sum(weights.numel() for weights in network.parameters())
        for part, network in parts.items()
        if isinstance(network, torch.nn.Module)
    }


def _others(model: Model, dtype: torch.dtype) -> dict[str, Any]:
    """Tokenizers, with CLIP's own vocabulary, and the scheduler."""
    shape = next(shape for shape in SHAPES.values() if shape.config == model.path)
    found = SingleFile(model.kind, model.path, {}, 4, model.size, shape.prediction)
    made: dict[str, Any] = {}
    for part, what in layouts.classes(model.name, model.path).items():
        if not layouts.networks({part: what}) and part not in (layouts.SAFETY, "feature_extractor"):
            kind = checkpoints.part_class(model, part, *what)
            made[part] = original.component(model.name, part, kind, {}, found, dtype)
    return made


def _free(device: str) -> int:
    """Bytes that are free on a device."""
    if device == "cuda":
        return int(torch.cuda.mem_get_info()[0])
    return int(psutil.virtual_memory().available)
