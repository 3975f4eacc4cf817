"""Diffusers' state dictionaries → the original layout's keys, written from the layout, not from diffusers' reader."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

UNET, VAE = "model.diffusion_model.", "first_stage_model."
_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_UNET = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
_OPEN_CLIP = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "self_attn.out_proj": "attn.out_proj",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}


def checkpoint(unet: Any, vae: Any, texts: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """The state dictionary of a whole checkpoint.

    Args:
        unet, vae: the networks.
        texts: prefix of the layout → text encoder; one with `.model.` in it is in OpenCLIP's layout.
    """
    layers = unet.config.layers_per_block
    state = _settled({UNET + unet_key(key, layers): value for key, value in unet.state_dict().items()})
    state |= vae_state(vae)
    for prefix, text in texts.items():
        named = {key.removeprefix("text_model."): value for key, value in text.state_dict().items()}
        state |= _open_clip(prefix, named) if prefix.endswith(".model.") else _clip(prefix, named)
    return {key: value.contiguous().clone() for key, value in state.items()}


def save(path: Path, state: Mapping[str, torch.Tensor], metadata: Mapping[str, str] | None = None) -> Path:
    from safetensors.torch import save_file

    save_file(dict(state), str(path), metadata=dict(metadata or {}))
    return path


def unet_key(key: str, layers: int) -> str:
    """A UNet's key: `down_blocks.1.resnets.0.conv1.weight` → `input_blocks.4.0.in_layers.2.weight`, say."""
    found = re.fullmatch(r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.*)", key)
    if found:
        side, block, what, layer, rest = found[1], int(found[2]), found[3], int(found[4]), found[5]
        if side == "down":
            at = 1 + block * (layers + 1) + (layers if what == "downsamplers" else layer)
            place = {"resnets": f"{at}.0.", "attentions": f"{at}.1.", "downsamplers": f"{at}.0."}[what]
            rest = rest.replace("conv.", "op.") if what == "downsamplers" else rest
            return f"input_blocks.{place}" + (_renamed(rest, _RESNET) if what == "resnets" else rest)
        at = block * (layers + 1) + (layers if what == "upsamplers" else layer)
        place = {"resnets": f"{at}.0.", "attentions": f"{at}.1.", "upsamplers": f"{at}.UP."}[what]
        return f"output_blocks.{place}" + (_renamed(rest, _RESNET) if what == "resnets" else rest)
    found = re.fullmatch(r"mid_block\.(resnets|attentions)\.(\d+)\.(.*)", key)
    if found:
        at = 1 if found[1] == "attentions" else 2 * int(found[2])
        return f"middle_block.{at}." + (_renamed(found[3], _RESNET) if found[1] == "resnets" else found[3])
    return _renamed(key, _UNET)


def _settled(state: dict[str, Any]) -> dict[str, Any]:
    """An upsampler follows the attention of its block where there is one: `.2.`, else `.1.`."""
    settled = {}
    for key, value in state.items():
        block = key.split(".UP.")[0]
        after = 2 if ".UP." in key and any(other.startswith(f"{block}.1.") for other in state) else 1
        settled[key.replace(".UP.", f".{after}.")] = value
    return settled


def vae_state(vae: Any, prefix: str = VAE) -> dict[str, torch.Tensor]:
    """A VAE's state dictionary in the original layout."""
    state = {}
    blocks = len(vae.config.block_out_channels)
    for key, value in vae.state_dict().items():
        if ".attentions.0." in key and key.endswith("weight") and value.dim() == 2:
            value = value[:, :, None, None]  # 1 × 1 convolutions, where diffusers has linear layers
        state[prefix + _vae_key(key, blocks)] = value.contiguous().clone()
    return state


def _vae_key(key: str, blocks: int) -> str:
    key = re.sub(r"down_blocks\.(\d+)\.resnets\.", r"down.\1.block.", key)
    key = re.sub(r"down_blocks\.(\d+)\.downsamplers\.0\.", r"down.\1.downsample.", key)
    key = re.sub(r"up_blocks\.(\d+)\.resnets\.", lambda found: f"up.{blocks - 1 - int(found[1])}.block.", key)
    key = re.sub(r"up_blocks\.(\d+)\.upsamplers\.0\.", lambda found: f"up.{blocks - 1 - int(found[1])}.upsample.", key)
    key = re.sub(r"mid_block\.resnets\.(\d)\.", lambda found: f"mid.block_{int(found[1]) + 1}.", key)
    found = re.fullmatch(r"(.*)mid_block\.attentions\.0\.(.*)", key)
    if found:
        return f"{found[1]}mid.attn_1." + _renamed(found[2], _VAE_ATTENTION)
    return key.replace("conv_shortcut", "nin_shortcut").replace("conv_norm_out", "norm_out")


def _clip(prefix: str, named: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{prefix}text_model.{key}": value for key, value in named.items()}


def _open_clip(prefix: str, named: Mapping[str, Any]) -> dict[str, Any]:
    import torch

    state = {
        prefix + "token_embedding.weight": named["embeddings.token_embedding.weight"],
        prefix + "positional_embedding": named["embeddings.position_embedding.weight"],
        prefix + "ln_final.weight": named["final_layer_norm.weight"],
        prefix + "ln_final.bias": named["final_layer_norm.bias"],
    }
    if "text_projection.weight" in named:
        state[prefix + "text_projection"] = named["text_projection.weight"].T
    for key, value in named.items():
        found = re.fullmatch(r"encoder\.layers\.(\d+)\.(.*)", key)
        if not found:
            continue
        block = f"{prefix}transformer.resblocks.{found[1]}."
        if found[2] in ("self_attn.q_proj.weight", "self_attn.q_proj.bias"):
            end = found[2].rsplit(".", 1)[1]
            stem = key.removesuffix(f"q_proj.{end}")
            parts: Iterable[Any] = [named[f"{stem}{letter}_proj.{end}"] for letter in "qkv"]
            state[f"{block}attn.in_proj_{end}"] = torch.cat(list(parts))
        elif not re.match(r"self_attn\.[qkv]_proj\.", found[2]):
            state[block + _renamed(found[2], _OPEN_CLIP)] = value
    return state


def _renamed(key: str, names: Mapping[str, str]) -> str:
    for old, new in names.items():
        if key.startswith(old + "."):
            return new + key.removeprefix(old)
    return key
