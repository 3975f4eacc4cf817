"""What a mode's twin is handed: a context that its rows share, and the batch to draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from sdbatch.render import acceleration, latents, noise
from sdbatch.render.inputs import Inputs
from sdbatch.render.models import Models
from sdbatch.sources.names import Sources
from sdbatch.types import Row

T = TypeVar("T")
Made = NDArray[np.float32] | torch.Tensor
"""Pictures in 0 to 1: (n, height, width, 3) where a CPU made them, else (n, 3, height, width) on the device."""


class Guidance:
    """Guidance of each picture of a batch, where the pipelines take one number for all.

    The pipelines compare it with 1, to see whether the unconditional half is needed, and multiply
    a (batch, channels, height, width) tensor by it.
    """

    def __init__(self, values: Sequence[float]) -> None:
        self._values = list(values)
        self._scales: dict[tuple[torch.dtype, torch.device, int], torch.Tensor] = {}

    def __gt__(self, other: float) -> bool:
        return self._values[0] > other

    def __mul__(self, tensor: torch.Tensor) -> torch.Tensor:
        # As torch multiplies by a number: in float32, and only the product is rounded to float16.
        exact = torch.promote_types(tensor.dtype, torch.float32)
        key = exact, tensor.device, tensor.dim()
        if key not in self._scales:  # once a batch: each copy to a GPU waits for all that it has been given
            scale = torch.tensor(self._values, dtype=exact, device=tensor.device)
            self._scales[key] = scale.view(-1, *[1] * (tensor.dim() - 1))
        return (self._scales[key] * tensor).to(tensor.dtype)


@dataclass(frozen=True)
class Picture:
    """A picture made.

    Attributes:
        pixels: (height, width, 3) uint8.
        beside: what `output.save` may write beside it, by name: (height, width) or (height, width, 3) uint8 or uint16;
            `latents` are (channels, h, w) floats.
        size: the batch shape that it was made at; 0 is the one that was asked for.
        scores: numbers about it, of a picture that is another row's and is not written again.
        degraded: what else was done otherwise than `render:` says, for want of memory or of numbers, by name.
    """

    pixels: NDArray[np.uint8]
    beside: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    size: int = 0
    scores: Mapping[str, Any] = field(default_factory=dict)
    degraded: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Context:
    """What all rows of a batch key share.

    Attributes:
        pipe: the pipeline, its scheduler and fine-tunes set; None for models that are none.
        params: of any of the rows: what SHARED does not name is alike in all.
        arguments: the mode's own arguments for the pipeline.
        encoder: names the VAE in keys of `inputs.kept`.
    """

    pipe: Any
    params: Mapping[str, Any]
    arguments: Mapping[str, Any]
    inputs: Inputs
    models: Models
    sources: Sources
    encoder: str

    def picture(self, name: str) -> NDArray[np.uint8]:
        """A row's input at the row's size, (height, width, 3).

        Raises:
            InputError: it is missing, broken or too large.
        """
        params = self.params
        return self.inputs.picture(name, params["width"], params["height"], params["fit"])

    def encoded(self, key: tuple[Any, ...], picture: NDArray[np.uint8]) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and standard deviation of a picture's latents, computed once a key."""
        found: tuple[torch.Tensor, torch.Tensor] = self.inputs.kept(
            (self.encoder, *key), lambda: latents.encode(self.pipe, picture)
        )
        return found


@dataclass(frozen=True)
class Batch:
    """Rows to draw at once, made up to the batch shape with copies of the last.

    Attributes:
        count: how many of the rows are real.
        draws: one generator a row.
        texts: the pipeline's arguments that hold prompt embeddings, first dimension len(rows).
        kept: what `call` leaves here: `latents`, as the last step made them, (len(rows), channels, h, w), scaled.
    """

    context: Context
    rows: Sequence[Row]
    count: int
    draws: Sequence[torch.Generator]
    guidance: Guidance
    texts: Mapping[str, torch.Tensor]
    kept: dict[str, torch.Tensor] = field(default_factory=dict)

    def pad(self, values: Sequence[T]) -> list[T]:
        """One value a real row → one a row."""
        return [*values, *[values[-1]] * (len(self.rows) - len(values))]

    def noise(self, width: int, height: int) -> torch.Tensor:
        """The next standard normal latents of each row, for pictures of this size: float32 on the CPU."""
        pipe = self.context.pipe
        factor = pipe.vae_scale_factor
        return noise.draw(self.draws, (pipe.vae.config.latent_channels, height // factor, width // factor))

    def call(self, **arguments: Any) -> Made:
        """Run the pipeline: pictures of all rows, for `pictures`."""
        context = self.context
        params = context.params
        with acceleration.on(context.pipe, params["accelerate"], (params["width"], params["height"])):
            made: Made = context.pipe(
                **self.texts,
                generator=list(self.draws),
                guidance_scale=self.guidance,
                output_type="pt" if latents.rounds_there(context.pipe) else "np",
                **{**context.arguments, **arguments, **self._following()},
            ).images
        return made

    def _following(self) -> dict[str, Any]:
        """The argument that has the pipeline tell of its latents after each step, of those that can."""
        if "latents" not in getattr(self.context.pipe, "_callback_tensor_inputs", ()):
            return {}

        def follow(pipe: Any, step: int, timestep: Any, tensors: dict[str, torch.Tensor]) -> dict[str, Any]:
            self.kept["latents"] = tensors["latents"]
            return {}

        return {"callback_on_step_end": follow}

    def beside(self, at: int) -> dict[str, NDArray[Any]]:
        """What `output.save` may write of a row that no mode has for itself: `latents`, (channels, h, w)."""
        if "latents" not in self.kept:
            return {}
        found = self.kept["latents"][at]
        return {"latents": (found.float() if found.dtype == torch.bfloat16 else found).cpu().numpy()}

    def pictures(self, made: Made) -> list[NDArray[np.uint8]]:
        """Pixels of the real rows, of what `call` or `latents.decode` gave."""
        if isinstance(made, torch.Tensor):
            return latents.rounded(made[: self.count])
        return latents.pixels(list(made[: self.count]))

    def repeated(self, at: int, draws: Sequence[torch.Generator]) -> Batch:
        """A batch of one row `at`, once for each of `draws`: for the tiles of a picture."""
        row = self.rows[at]
        texts = {name: value[at : at + 1].expand(len(draws), *value.shape[1:]) for name, value in self.texts.items()}
        guidance = Guidance([row.params["guidance_scale"]] * len(draws))
        return replace(
            self, rows=[row] * len(draws), count=len(draws), draws=draws, guidance=guidance, texts=texts, kept={}
        )
