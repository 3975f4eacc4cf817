"""A batch of rows → pixels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from sdbatch import modes
from sdbatch.errors import PictureError
from sdbatch.render import noise, schedulers
from sdbatch.render.models import Models
from sdbatch.render.text import Texts
from sdbatch.types import Render, Row


class Guidance:
    """Guidance of each picture of a batch, where the pipelines take one number for all.

    The pipelines compare it with 1, to see whether the unconditional half is needed, and multiply
    a (batch, channels, height, width) tensor by it.
    """

    def __init__(self, values: Sequence[float]) -> None:
        self._values = list(values)

    def __gt__(self, other: float) -> bool:
        return self._values[0] > other

    def __mul__(self, tensor: torch.Tensor) -> torch.Tensor:
        # As torch multiplies by a number: in float32, and only the product is rounded to float16.
        exact = torch.promote_types(tensor.dtype, torch.float32)
        scale = torch.tensor(self._values, dtype=exact, device=tensor.device)
        return (scale.view(-1, *[1] * (tensor.dim() - 1)) * tensor).to(tensor.dtype)


class Renderer:
    """Renders batches at one shape, padded, so that a picture's bits do not follow from its neighbours.

    Args:
        render: how; its `threads` are set here, whatever the environment says.
    """

    def __init__(self, render: Render) -> None:
        self._render = render
        self._models = Models(render)
        self._texts: Texts | None = None

    @property
    def loads(self) -> int:
        """How many models were read so far."""
        return self._models.loads

    def render(self, rows: Sequence[Row], path: Path, size: int) -> list[NDArray[np.uint8]]:
        """Render rows of one batch key: an (height, width, 3) uint8 array each.

        Args:
            path: the model's folder.
            size: the batch shape; at least len(rows).

        Raises:
            PictureError: a picture is not finite.
            ModelError: the model cannot be loaded.
        """
        torch.set_num_threads(self._render.threads)  # of this thread: an actor's calls come on several
        padded = [*rows, *[rows[-1]] * (size - len(rows))]
        params = padded[0].params
        mode = modes.get(params["mode"])
        pipe = self._models.pipeline(path, mode.PIPELINE)
        if self._texts is None or self._texts.pipe is not pipe:
            self._texts = Texts(pipe)
            self._scheduler_config = dict(pipe.scheduler.config)
        pipe.scheduler = schedulers.make(params["scheduler"], params["sigmas"], self._scheduler_config)
        draws = noise.generators([row.params["seed"] for row in padded])
        factor = pipe.vae_scale_factor
        shape = (pipe.unet.config.in_channels, params["height"] // factor, params["width"] // factor)
        guidance = Guidance([row.params["guidance_scale"] for row in padded])
        with torch.inference_mode():
            found = pipe(
                prompt_embeds=self._encode(padded, "prompt"),
                negative_prompt_embeds=self._encode(padded, "negative_prompt") if guidance > 1 else None,
                latents=noise.first_noise(draws, shape).to(pipe.unet.dtype),
                generator=draws,
                guidance_scale=guidance,
                output_type="np",
                **mode.arguments(params),
            )
        return [_pixels(picture) for picture in found.images[: len(rows)]]

    def _encode(self, rows: Sequence[Row], name: str) -> torch.Tensor:
        assert self._texts is not None
        return self._texts.encode([row.params[name] for row in rows], rows[0].params["clip_skip"])


def _pixels(picture: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(height, width, 3) float 0 to 1 → uint8, rounded to nearest.

    Raises:
        PictureError: a value is NaN or infinite.
    """
    if not np.isfinite(picture).all():
        raise PictureError("the model gave values that are not numbers (NaN); try render.dtype float32")
    return np.ascontiguousarray((picture * 255).round().astype(np.uint8))
