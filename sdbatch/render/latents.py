"""Between pixels and latents: the VAE, one picture at a time, so that a picture's bits follow from itself alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sdbatch.errors import PictureError
from sdbatch.render import inputs

_NO_NUMBERS = "the model gave values that are not numbers (NaN); try render.dtype float32"


def encode(pipe: Any, pixels: NDArray[np.uint8]) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of a picture's latents, each (1, channels, height / f, width / f), unscaled.

    Args:
        pixels: (height, width, 3), sides multiples of the VAE's factor f.
    """
    return encode_tensor(pipe, inputs.tensor(pixels) * 2 - 1)


def encode_tensor(pipe: Any, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The same for (1, 3, height, width) float32 in -1 to 1."""
    vae = pipe.vae
    dtype = vae.dtype
    if upcasts(pipe):
        vae.to(torch.float32)
    device = pipe._execution_device
    if hasattr(vae, "_hf_hook"):  # offloaded: encode() is not forward(), which alone the hook watches
        vae._hf_hook.pre_forward(vae)
    found = vae.encode(pixels.to(device, vae.dtype)).latent_dist
    vae.to(dtype)
    return found.mean.to(dtype).cpu(), found.std.to(dtype).cpu()


def sample(pipe: Any, made: tuple[torch.Tensor, torch.Tensor], drawn: torch.Tensor) -> torch.Tensor:
    """Latents as the pipelines take them: (mean + std * drawn) * scaling_factor.

    Args:
        made: what `encode` gave.
        drawn: standard normal, of the same shape, float32 on the CPU.
    """
    mean, std = made
    return (mean + std * drawn.to(mean.dtype)) * pipe.vae.config.scaling_factor


def decode(pipe: Any, latents: torch.Tensor) -> NDArray[np.float32]:
    """Latents → (n, height, width, 3) float32 in 0 to 1, decoded as one batch."""
    vae = pipe.vae
    dtype = vae.dtype
    if upcasts(pipe):
        vae.to(torch.float32)
    given = (latents / vae.config.scaling_factor).to(pipe._execution_device, vae.dtype)
    if hasattr(vae, "_hf_hook"):
        vae._hf_hook.pre_forward(vae)
    decoded = vae.decode(given, return_dict=False)[0]
    vae.to(dtype)
    made: NDArray[np.float32] = pipe.image_processor.postprocess(decoded, output_type="np")
    return made


def upcasts(pipe: Any) -> bool:
    """Whether the VAE must leave float16: SDXL's overflows there, and diffusers' SDXL pipelines do the same."""
    vae = pipe.vae
    return bool("XL" in type(pipe).__name__ and vae.dtype == torch.float16 and vae.config.force_upcast)


def rounds_there(pipe: Any) -> bool:
    """Whether pixels are rounded on the device: a GPU would stand still meanwhile, and four times as much be copied."""
    return bool(pipe._execution_device.type != "cpu")


def rounded(pictures: torch.Tensor) -> list[NDArray[np.uint8]]:
    """(n, 3, height, width) in 0 to 1 → n of (height, width, 3) uint8, rounded where they are: the bits of `pixels`.

    Raises:
        PictureError: a value is NaN or infinite.
    """
    if not bool(torch.isfinite(pictures).all()):
        raise PictureError(_NO_NUMBERS)
    whole = (pictures.float() * 255).round().to(torch.uint8)
    return list(whole.permute(0, 2, 3, 1).contiguous().cpu().numpy())


def pixels(pictures: Sequence[NDArray[np.float32]]) -> list[NDArray[np.uint8]]:
    """Each (height, width, 3) float 0 to 1 → uint8, rounded to nearest.

    Raises:
        PictureError: a value is NaN or infinite.
    """
    if not all(np.isfinite(picture).all() for picture in pictures):
        raise PictureError(_NO_NUMBERS)
    return [np.ascontiguousarray((picture * 255).round().astype(np.uint8)) for picture in pictures]
