"""LoRAs: W x becomes W x + weight * alpha / rank * B (A x), in linear and convolution layers.

The layers are wrapped, not their weights changed, so that taking a LoRA off is exact. A file's layers are found by
the names that diffusers, Kohya's trainer and the original Stable Diffusion code give the modules of the model in
hand; each must be found and fit, or the LoRA is refused. diffusers' own loader warns and goes on instead; beside
transformers 5 it leaves out a Kohya file's attention layers of the text encoder.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from sdbatch.errors import ModelError
from sdbatch.render import steady
from sdbatch.render.modules import Swaps, Wrapper

_DOWN = (".lora_down.weight", ".lora_A.weight", ".lora.down.weight", "_lora.down.weight",
         ".lora_linear_layer.down.weight")  # fmt: skip
_UP = (".lora_up.weight", ".lora_B.weight", ".lora.up.weight", "_lora.up.weight", ".lora_linear_layer.up.weight")
_ENCODERS = {"text_encoder": ("lora_te_", "lora_te1_"), "text_encoder_2": ("lora_te2_",)}
_OLD_UNET = {"to_out": "to_out.0"}
_OLD_ENCODER = {"to_q": "q_proj", "to_k": "k_proj", "to_v": "v_proj", "to_out": "out_proj"}
ADAPTER_METADATA = "lora_adapter_metadata"
"""The metadata key under which diffusers keeps peft's settings, alpha among them."""


@dataclass(frozen=True)
class Layer:
    """One layer of a LoRA.

    Attributes:
        down: A: (rank, inputs) or (rank, inputs, height, width).
        up: B: (outputs, rank) or (outputs, rank, 1, 1).
        scale: alpha / rank.
    """

    down: torch.Tensor
    up: torch.Tensor
    scale: float


class Adapted(Wrapper):
    """A linear or convolution layer with LoRAs on it."""

    def __init__(self, inner: nn.Linear | nn.Conv2d, layers: Sequence[tuple[Layer, float]]) -> None:
        super().__init__(inner)
        device, dtype = inner.weight.device, inner.weight.dtype
        self._scales = [layer.scale * weight for layer, weight in layers]
        self._ops: Any = steady if isinstance(inner, (steady.Linear, steady.Conv2d)) else F
        for at, (layer, _) in enumerate(layers):  # buffers: they move between devices with the network
            self.register_buffer(f"down{at}", layer.down.to(device, dtype), persistent=False)
            self.register_buffer(f"up{at}", layer.up.to(device, dtype), persistent=False)

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        """The layer's output with each LoRA's share added, in the order in which they were given."""
        made = self.inner(given)
        for at, scale in enumerate(self._scales):
            down, up = getattr(self, f"down{at}"), getattr(self, f"up{at}")
            if isinstance(self.inner, nn.Conv2d):
                low = self._ops.conv2d(given, down, None, self.inner.stride, self.inner.padding, self.inner.dilation)
                made = made + self._ops.conv2d(low, up) * scale
            else:
                made = made + self._ops.linear(self._ops.linear(given, down), up) * scale
        return made


def layers(title: str, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> dict[str, Layer]:
    """A file's layers, by their names in it.

    Raises:
        ModelError: it has tensors that belong to no layer.
    """
    downs = {_stem(name, _DOWN): tensor for name, tensor in tensors.items() if name.endswith(_DOWN)}
    ups = {_stem(name, _UP): tensor for name, tensor in tensors.items() if name.endswith(_UP)}
    alphas = {name.removesuffix(".alpha"): tensor for name, tensor in tensors.items() if name.endswith(".alpha")}
    odd = [name for name in tensors if not name.endswith((*_DOWN, *_UP, ".alpha"))]
    odd += sorted((set(downs) ^ set(ups)) | (set(alphas) - set(downs)))
    odd += [name for name, down in downs.items() if name in ups and not _is_pair(down, ups[name])]
    odd += [name for name, alpha in alphas.items() if alpha.numel() != 1]
    if odd:
        raise ModelError(f"{title}: {odd[0]!r} is not, or not all of, a layer that is read")
    try:
        settings = json.loads(metadata.get(ADAPTER_METADATA, "{}"))
        scales = {
            name: alphas[name].item() / down.shape[0] if name in alphas else _scale(settings, name, down.shape[0])
            for name, down in downs.items()
        }
    except (ValueError, TypeError, AttributeError, re.error) as error:
        raise ModelError(f"{title}: its metadata {ADAPTER_METADATA!r} is not what peft writes: {error}") from error
    return {name: Layer(down, ups[name], scales[name]) for name, down in downs.items()}


def apply(swaps: Swaps, pipe: Any, loras: Sequence[tuple[str, Mapping[str, Layer], float]]) -> None:
    """Put LoRAs on a pipeline's UNet and text encoders.

    Args:
        loras: what errors call each, its layers, its weight.

    Raises:
        ModelError: one does not fit the model; nothing was changed.
    """
    places = {alias: place for place in _places(pipe) for alias in _aliases(*place, pipe)}
    wanted: dict[tuple[str, str], list[tuple[Layer, float]]] = {}
    for title, found, weight in loras:
        missing = [name for name in found if name not in places]
        if missing:
            share = "none" if len(missing) == len(found) else f"{len(found) - len(missing)}"
            raise ModelError(
                f"{title}: made for another model: {share} of its {len(found)} layers are in this one; "
                f"{missing[0]!r} is not"
            )
        for name, layer in found.items():
            component, path = places[name]
            module = getattr(pipe, component).get_submodule(path)
            wanted.setdefault((component, path), []).append((_fitted(title, name, layer, module), weight))
    for (component, path), pairs in wanted.items():
        root = getattr(pipe, component)
        swaps.module(root, path, Adapted(root.get_submodule(path), pairs))


def _stem(name: str, suffixes: Sequence[str]) -> str:
    """A layer's name without what says which half of it this is; the oldest diffusers names brought up to date."""
    suffix = next(suffix for suffix in suffixes if name.endswith(suffix))
    stem = name.removesuffix(suffix)
    if not suffix.startswith("_"):
        return stem
    owner, _, leaf = stem.rpartition(".")
    table = _OLD_ENCODER if owner.startswith("text_encoder") else _OLD_UNET
    return f"{owner.removesuffix('.processor')}.{table.get(leaf, leaf)}"


def _is_pair(down: torch.Tensor, up: torch.Tensor) -> bool:
    return down.dim() >= 2 and up.dim() >= 2 and 0 < down.shape[0] == up.shape[1]


def _scale(settings: Mapping[str, Any], name: str, rank: int) -> float:
    """alpha / rank by peft's settings; 1 where there are none."""
    component, _, path = name.partition(".")
    alpha = settings.get(f"{component}.lora_alpha", rank)
    for pattern, value in (settings.get(f"{component}.alpha_pattern") or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", path):
            alpha = value
            break
    return float(alpha / (math.sqrt(rank) if settings.get(f"{component}.use_rslora") else rank))


def _places(pipe: Any) -> Iterator[tuple[str, str]]:
    """Every layer that can take a LoRA: component and path."""
    for component in ("unet", *_ENCODERS):
        root = getattr(pipe, component, None)
        for path, module in root.named_modules() if root is not None else ():
            if isinstance(module, (nn.Linear, nn.Conv2d)):
                yield component, path


def _aliases(component: str, path: str, pipe: Any) -> Iterator[str]:
    """The names by which files call a layer."""
    if component == "unet":
        yield from (path, f"unet.{path}", "lora_unet_" + path.replace(".", "_"))
        original = _original(path, pipe.unet.config)
        if original:
            yield "lora_unet_" + original.replace(".", "_")
        return
    bare = path.removeprefix("text_model.")
    for name in (bare, f"text_model.{bare}"):
        yield f"{component}.{name}"
        yield from (prefix + name.replace(".", "_") for prefix in _ENCODERS[component])


def _original(path: str, config: Any) -> str | None:
    """The original Stable Diffusion code's path of a UNet layer, where it differs by more than dots."""
    if not isinstance(config.layers_per_block, int):
        return None
    for pattern, rename in _BLOCKS:
        found = re.fullmatch(pattern, path)
        if found:
            *numbers, inside = found.groups()
            block = rename(config.layers_per_block + 1, *map(int, numbers))
            if inside == "conv":  # a sampler: the blocks it ends know by another count whether attention comes before
                attends = "CrossAttn" in (config.up_block_types[int(numbers[0])] if "output" in block else "")
                inside = "op" if "input" in block else f"{2 if attends else 1}.conv"
            return f"{block}.{_INSIDE.get(inside, inside)}"
    return _ENDS.get(path)


_BLOCKS: Sequence[tuple[str, Callable[..., str]]] = (  # n: blocks of one resolution; b: which resolution; i: in it
    (r"down_blocks\.(\d+)\.resnets\.(\d+)\.(.+)", lambda n, b, i: f"input_blocks.{1 + b * n + i}.0"),
    (r"down_blocks\.(\d+)\.attentions\.(\d+)\.(.+)", lambda n, b, i: f"input_blocks.{1 + b * n + i}.1"),
    (r"down_blocks\.(\d+)\.downsamplers\.0\.(conv)", lambda n, b: f"input_blocks.{(b + 1) * n}.0"),
    (r"mid_block\.resnets\.(\d+)\.(.+)", lambda n, i: f"middle_block.{2 * i}"),
    (r"mid_block\.attentions\.0\.(.+)", lambda n: "middle_block.1"),
    (r"up_blocks\.(\d+)\.resnets\.(\d+)\.(.+)", lambda n, b, i: f"output_blocks.{b * n + i}.0"),
    (r"up_blocks\.(\d+)\.attentions\.(\d+)\.(.+)", lambda n, b, i: f"output_blocks.{b * n + i}.1"),
    (r"up_blocks\.(\d+)\.upsamplers\.0\.(conv)", lambda n, b: f"output_blocks.{b * n + n - 1}"),
)
_INSIDE = {
    "conv1": "in_layers.2", "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1", "conv_shortcut": "skip_connection",
}  # fmt: skip
_ENDS = {
    "conv_in": "input_blocks.0.0", "conv_out": "out.2", "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2", "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
}  # fmt: skip


def _fitted(title: str, name: str, layer: Layer, module: nn.Linear | nn.Conv2d) -> Layer:
    """A layer in the shape that its module wants: some files keep 1×1 convolutions as matrices, or the reverse."""
    outputs, inputs, *kernel = module.weight.shape
    rank = layer.down.shape[0]
    down, up = (rank, inputs, *kernel), (outputs, rank, *[1] * len(kernel))
    same = layer.down.numel() == math.prod(down) and layer.up.numel() == math.prod(up)
    flat = [size for size in layer.down.shape[2:] if size != 1] == [size for size in kernel if size != 1]
    if not same or not flat or layer.down.shape[1] != inputs or layer.up.shape[0] != outputs:
        raise ModelError(
            f"{title}: made for another model: its layer {name!r} is {_shape(layer.down)} and {_shape(layer.up)}, "
            f"the model's {_shape(module.weight)}"
        )
    return Layer(layer.down.reshape(down), layer.up.reshape(up), layer.scale)


def _shape(tensor: torch.Tensor) -> str:
    return "×".join(map(str, tensor.shape)) or "a number"
