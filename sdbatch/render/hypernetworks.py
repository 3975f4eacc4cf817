"""Hypernetworks as AUTOMATIC1111 trains them: a small network each before the keys and the values of attention.

In every cross-attention and self-attention of the UNet whose context c (text embeddings, or the hidden state itself)
has a width w that the file knows, k = K(c + strength * f(c)) and v = V(c + strength * g(c)), where f and g are the
two networks of width w: linear layers of widths w * layer_structure, each followed by the activation (the last one
only where `activate_output`) and, where `is_layer_norm`, by a layer norm. Dropout is for training alone.

The file, a safetensors one that `sdbatch models convert` writes: tensors `768.k.linear.0.weight`, `.bias`,
`768.k.norm.0.weight`, `.bias`, and `768.v...`, numbered from 0 by layer; metadata `layout`, `activation_func`,
`activate_output` (`true` or `false`), and for people `layer_structure`, `is_layer_norm`, `name`, `step` and the like.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import nn

from sdbatch.errors import ModelError
from sdbatch.render import steady
from sdbatch.render.modules import Swaps, Wrapper
from sdbatch.sources.adapters import HYPERNETWORK_LAYOUT

Tensors = dict[str, torch.Tensor]
_HALVES = ("k", "v")
_KEY = re.compile(r"(\d+)\.([kv])\.(linear|norm)\.(\d+)\.(weight|bias)")
_OLD_KEYS = {"linear1": "linear.0", "linear2": "linear.1"}
_SWISH = nn.Hardswish  # what AUTOMATIC1111 means by `swish`
_ACTIVATIONS: Mapping[str, Callable[[], nn.Module]] = {
    "linear": nn.Identity, "relu": nn.ReLU, "leakyrelu": nn.LeakyReLU, "elu": nn.ELU, "swish": _SWISH,
    "tanh": nn.Tanh, "sigmoid": nn.Sigmoid, "celu": nn.CELU, "gelu": nn.GELU, "hardshrink": nn.Hardshrink,
    "hardsigmoid": nn.Hardsigmoid, "hardswish": nn.Hardswish, "hardtanh": nn.Hardtanh, "logsigmoid": nn.LogSigmoid,
    "mish": nn.Mish, "relu6": nn.ReLU6, "selu": nn.SELU, "silu": nn.SiLU, "softplus": nn.Softplus,
    "softshrink": nn.Softshrink, "softsign": nn.Softsign, "tanhshrink": nn.Tanhshrink,
}  # fmt: skip


class Shifted(Wrapper):
    """A layer that makes keys or values, with a hypernetwork's network before it."""

    def __init__(self, inner: nn.Module, network: nn.Module, strength: float) -> None:
        super().__init__(inner)
        self.network, self._strength = network, strength

    def forward(self, context: torch.Tensor) -> torch.Tensor:
        """Keys or values of (batch, tokens, width)."""
        return self.inner(context + self.network(context) * self._strength)


def flatten(state: Any) -> tuple[Tensors, dict[str, str]] | None:
    """What AUTOMATIC1111 saved → tensors and metadata of a safetensors file; None where it is no hypernetwork.

    Args:
        state: the unpickled mapping: width → (state dict for keys, state dict for values), and settings by name.

    Raises:
        ModelError: it is one, but broken or with an activation that is not known.
    """
    if not isinstance(state, Mapping):
        return None
    widths = {key: pair for key, pair in state.items() if type(key) is int and _is_pair(pair)}
    if not widths:
        return None
    activation = state.get("activation_func") or "linear"
    tensors: Tensors = {}
    for width, pair in widths.items():
        for half, half_state in zip(_HALVES, pair, strict=True):
            for name, tensor in _renumbered(half_state):
                tensors[f"{width}.{half}.{name}"] = tensor.detach().clone().contiguous()
    # Where the setting is missing, AUTOMATIC1111 takes it to be true.
    told = {"activation_func": activation, "activate_output": bool(state.get("activate_output", True))}
    about = ("name", "step", "layer_structure", "is_layer_norm", "use_dropout", "sd_checkpoint", "sd_checkpoint_name")
    told |= {key: state[key] for key in about if isinstance(state.get(key), (str, int, float, list))}
    metadata = {key: value if isinstance(value, str) else json.dumps(value) for key, value in told.items()}
    metadata |= {"layout": HYPERNETWORK_LAYOUT, "format": "pt"}
    networks("hypernetwork", tensors, metadata)  # that it can be read back
    return tensors, metadata


def networks(title: str, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> dict[int, Any]:
    """The two networks of each width, on the CPU.

    Raises:
        ModelError: the file is broken, or its activation is not known.
    """
    name = metadata.get("activation_func", "linear").lower()
    if name not in _ACTIVATIONS:
        raise ModelError(f"{title}: activation {name!r} is not known; there are: {', '.join(sorted(_ACTIVATIONS))}")
    on_output = metadata.get("activate_output", "true") == "true"
    odd = next((key for key in tensors if not _KEY.fullmatch(key)), None)
    if odd is not None or not tensors:
        raise ModelError(f"{title}: {odd!r} is no tensor of a hypernetwork" if odd else f"{title}: holds no tensors")
    found = {}
    for width in sorted({int(key.partition(".")[0]) for key in tensors}):
        try:
            found[width] = tuple(
                _network(width, tensors, f"{width}.{half}", _ACTIVATIONS[name], on_output) for half in _HALVES
            )
        except (KeyError, RuntimeError, ValueError) as error:
            raise ModelError(f"{title}: its networks of width {width} are broken: {error}") from error
    return found


def apply(swaps: Swaps, title: str, unet: nn.Module, found: Mapping[int, Any], strength: float) -> None:
    """Put networks before the keys and values of a UNet's attention.

    Raises:
        ModelError: no attention has a context of a width that the networks are made for; nothing was changed.
    """
    fitting = [
        module
        for path, module in unet.named_modules()
        if path.endswith((".attn1", ".attn2")) and module.to_k.weight.shape[1] in found
    ]
    if not fitting:
        raise ModelError(
            f"{title}: made for another model: its widths {', '.join(map(str, found))} are not in this one"
        )
    for module in fitting:
        weight = module.to_k.weight
        pair = [network.to(device=weight.device, dtype=weight.dtype) for network in found[weight.shape[1]]]
        if isinstance(module.to_k, steady.Linear):
            for network in pair:
                steady.make(network)
        swaps.attribute(module, "to_k", Shifted(module.to_k, pair[0], strength))
        swaps.attribute(module, "to_v", Shifted(module.to_v, pair[1], strength))


def _is_pair(value: Any) -> bool:
    return isinstance(value, (tuple, list)) and len(value) == 2 and all(isinstance(half, Mapping) for half in value)


def _renumbered(state: Mapping[str, torch.Tensor]) -> Iterator[tuple[str, torch.Tensor]]:
    """`linear.3.weight`, with activations, norms and dropout counted in, → `linear.1.weight`; norms have a name."""
    numbered: dict[int, Tensors] = {}
    for key, tensor in state.items():
        stem, _, leaf = key.rpartition(".")
        stem = _OLD_KEYS.get(stem, stem)
        if not re.fullmatch(r"linear\.\d+", stem) or not isinstance(tensor, torch.Tensor):
            raise ModelError(f"hypernetwork: {key!r} is no tensor of one")
        numbered.setdefault(int(stem.removeprefix("linear.")), {})[leaf] = tensor
    layer = -1
    for number in sorted(numbered):
        linear = numbered[number].get("weight", torch.empty(0)).dim() == 2
        layer += linear
        for leaf, tensor in numbered[number].items():
            yield f"{'linear' if linear else 'norm'}.{layer}.{leaf}", tensor


def _network(width: int, tensors: Mapping[str, torch.Tensor], prefix: str, activation: Any, on_output: bool) -> Any:
    """One network.

    Raises:
        KeyError: a tensor is missing.
        RuntimeError: a tensor has a wrong shape.
        ValueError: the layers do not lead from the width back to it.
    """
    count = sum(key.startswith(f"{prefix}.linear.") and key.endswith(".weight") for key in tensors)
    parts: list[nn.Module] = []
    inputs = width
    for at in range(count):
        outputs = tensors[f"{prefix}.linear.{at}.weight"].shape[0]
        parts.append(_loaded(nn.Linear(inputs, outputs, device="meta"), tensors, f"{prefix}.linear.{at}"))
        if at < count - 1 or on_output:
            parts.append(activation())
        if f"{prefix}.norm.{at}.weight" in tensors:
            parts.append(_loaded(nn.LayerNorm(outputs, device="meta"), tensors, f"{prefix}.norm.{at}"))
        inputs = outputs
    if not count or inputs != width:
        raise ValueError(f"{prefix} ends at {inputs}" if count else f"{prefix} has no layers")
    return nn.Sequential(*parts).requires_grad_(False).eval()


def _loaded(module: nn.Module, tensors: Mapping[str, torch.Tensor], prefix: str) -> nn.Module:
    module.load_state_dict({leaf: tensors[f"{prefix}.{leaf}"] for leaf in ("weight", "bias")}, assign=True)
    return module
