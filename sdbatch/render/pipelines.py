"""diffusers' pipelines, changed in one respect: they draw no noise that `noise` has not drawn.

`prepare_latents` draws the first noise inside the pipelines that start from a picture; here it takes
the caller's, so that one contract holds for all modes, and so that tiles can share theirs.
"""

from __future__ import annotations

from typing import Any

import diffusers
import torch


class _FromPicture:
    """A pipeline that starts from `image`, given as latents, with `first_noise` added; or from that noise alone."""

    first_noise: torch.Tensor
    pure = False
    scheduler: Any

    def prepare_latents(
        self,
        image: torch.Tensor,
        timestep: torch.Tensor,
        batch_size: int,
        num_images_per_prompt: int,
        dtype: torch.dtype,
        device: torch.device,
        *unused: Any,
        **unused_too: Any,
    ) -> torch.Tensor:
        """(n, channels, height, width): the image's latents noised to `timestep`, or what txt2img starts from."""
        noise = self.first_noise.to(device, dtype)
        if self.pure:
            return noise * self.scheduler.init_noise_sigma
        noised: torch.Tensor = self.scheduler.add_noise(image.to(device, dtype), noise, timestep)
        return noised


class Img2Img(_FromPicture, diffusers.StableDiffusionImg2ImgPipeline):
    """img2img over given latents and noise."""


class Img2ImgXL(_FromPicture, diffusers.StableDiffusionXLImg2ImgPipeline):
    """The same for SDXL."""


class Depth2Img(_FromPicture, diffusers.StableDiffusionDepth2ImgPipeline):
    """depth2img over given latents, noise and depth."""

    def prepare_depth_map(
        self,
        image: torch.Tensor,
        depth_map: torch.Tensor,
        batch_size: int,
        do_classifier_free_guidance: bool,
        dtype: torch.dtype,
        device: torch.device,
    ) -> torch.Tensor:
        """Depth at the latents' size, (n, 1, height, width) in -1 to 1: as given, where diffusers takes pixels."""
        depth = depth_map.to(device, dtype)
        return torch.cat([depth] * 2) if do_classifier_free_guidance else depth


class _Inpaint:
    """Inpainting with `first_noise`: pure at strength 1, else added to the image's latents."""

    first_noise: torch.Tensor
    scheduler: Any

    def prepare_latents(
        self,
        batch_size: int,
        num_channels_latents: int,
        height: int,
        width: int,
        dtype: torch.dtype,
        device: torch.device,
        generator: Any,
        latents: Any = None,
        image: Any = None,
        timestep: Any = None,
        is_strength_max: bool = True,
        add_noise: bool = True,
        return_noise: bool = False,
        return_image_latents: bool = False,
    ) -> tuple[torch.Tensor, ...]:
        """What the pipeline asks for: the latents it starts from, its noise, the image's latents."""
        noise, image = self.first_noise.to(device, dtype), image.to(device, dtype)
        start = (
            noise * self.scheduler.init_noise_sigma
            if is_strength_max
            else self.scheduler.add_noise(image, noise, timestep)
        )
        found = (start,)
        found += (noise,) if return_noise else ()
        found += (image,) if return_image_latents else ()
        return found


class Inpaint(_Inpaint, diffusers.StableDiffusionInpaintPipeline):
    """Inpainting over given latents and noise."""


class InpaintXL(_Inpaint, diffusers.StableDiffusionXLInpaintPipeline):
    """The same for SDXL."""


_OURS: dict[str, Any] = {
    "StableDiffusionImg2ImgPipeline": Img2Img,
    "StableDiffusionXLImg2ImgPipeline": Img2ImgXL,
    "StableDiffusionDepth2ImgPipeline": Depth2Img,
    "StableDiffusionInpaintPipeline": Inpaint,
    "StableDiffusionXLInpaintPipeline": InpaintXL,
}


def get(name: str) -> Any:
    """The class for diffusers' name of a pipeline."""
    return _OURS.get(name) or getattr(diffusers, name)
