"""How many floating point operations a picture takes, counted by torch over the same networks without weights."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from sdbatch.render.bench import weights
from sdbatch.sources.models import Model

LENGTH = 77  # tokens of a chunk


def counted(model: Model, width: int, height: int) -> dict[str, int]:
    """Operations of one text, of one denoising step of one guided picture, and of decoding one picture.

    Multiplications and additions each count, as `torch.utils.flop_counter` has it: those of matrix products,
    convolutions and attention, which is nearly all.
    """
    networks = weights.networks(model)
    for network in networks.values():
        network.to("meta")  # the buffers, which alone have memory
    vae: Any = networks["vae"]
    factor = 2 ** (len(vae.config.block_out_channels) - 1)
    latents = _blank(1, vae.config.latent_channels, height // factor, width // factor)
    encoders: list[Any] = [network for part, network in networks.items() if part.startswith("text_encoder")]
    return {
        "text": _operations(lambda: [encoder(_blank(1, LENGTH).long()) for encoder in encoders]),
        "step": _operations(lambda: _step(networks["unet"], latents)),
        "decode": _operations(lambda: vae.decode(latents)),
    }


def _step(unet: Any, latents: torch.Tensor) -> None:
    """One call for one guided picture: with its text and without."""
    config = unet.config
    added = None
    if config.addition_embed_type == "text_time":
        times = 6  # size, crop and target size, two numbers each
        pooled = config.projection_class_embeddings_input_dim - times * config.addition_time_embed_dim
        added = {"text_embeds": _blank(2, pooled), "time_ids": _blank(2, times)}
    text = _blank(2, LENGTH, config.cross_attention_dim)
    unet(latents.expand(2, -1, -1, -1), _blank(2), encoder_hidden_states=text, added_cond_kwargs=added)


def _blank(*shape: int) -> torch.Tensor:
    return torch.empty(shape, device="meta")


def _operations(call: Any) -> int:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        call()
    return int(counter.get_total_flops())
