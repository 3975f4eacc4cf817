"""A batch of rows → pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sdbatch import modes
from sdbatch.errors import InputError, PictureError, RowError
from sdbatch.render import judging, memory, noise, schedulers, steady
from sdbatch.render import modes as twins
from sdbatch.render.batch import Batch, Context, Guidance, Picture
from sdbatch.render.inputs import Inputs
from sdbatch.render.memory import Ladder, Rung
from sdbatch.render.models import Models
from sdbatch.render.text import TOGETHER, Texts
from sdbatch.sources.names import Sources
from sdbatch.types import Render, Row


class Renderer:
    """Renders batches at one shape, padded, so that a picture's bits do not follow from its neighbours.

    Args:
        render: how; its `threads` are set here, whatever the environment says.
        sources: finds models, fine-tunes and pictures.
        models: what loads models; None is made from `render`, as is the ladder.
        ladder: what is done when memory does not suffice.
    """

    def __init__(
        self, render: Render, sources: Sources, *, models: Models | None = None, ladder: Ladder | None = None
    ) -> None:
        self._render, self._sources = render, sources
        self._models = models or Models(render)
        self._ladder = ladder or Ladder(render, offload=render.device != "cpu" and render.vram != "low")
        self._inputs = Inputs(sources)
        self._texts: Texts | None = None
        self._configs: dict[int, dict[str, Any]] = {}

    @property
    def loads(self) -> int:
        """How many models were read so far."""
        return self._models.loads

    def forget(self) -> None:
        """Drop what is kept of texts: the next batch encodes its own anew."""
        if self._texts is not None:
            self._texts.forget()

    def render(
        self, rows: Sequence[Row], size: int, *, precise: bool = False, tiled: bool = False
    ) -> list[Picture | RowError]:
        """Render rows of one batch key: a picture each, or why there is none.

        Where memory runs out, the rows are made again one rung down the ladder, and so is what follows them.

        Args:
            size: the batch shape; at least len(rows).
            precise: with the VAE in float32.
            tiled: with the VAE in slices and tiles, as on the ladder's last rung.

        Raises:
            PictureError: a picture is not finite.
            ModelError: a model cannot be loaded.
            torch.OutOfMemoryError, MemoryError, RuntimeError: no rung is left.
        """
        torch.set_num_threads(self._render.threads)  # of this thread: an actor's calls come on several
        params = rows[0].params
        key = tuple(str(params[name]) for name in ("model", "revision", "mode", "width", "height", "controlnet"))
        while True:
            rung = self._ladder.at((*key, size), size)
            rung = replace(rung, tiled=rung.tiled or tiled)
            try:
                with torch.inference_mode():
                    return self._on(rung, rows, size, precise)
            except Exception as error:  # backends say that memory ran out by errors of many classes
                if not (memory.ran_out(error) and self._ladder.down((*key, size), size)):
                    raise
            memory.free(self._render.device)  # here, where the error no longer holds what it was raised among

    def alike(self, clip_model: str, one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
        """The cosine between a CLIP model's embeddings of two pictures, (height, width, 3) each.

        Raises:
            ModelError: it cannot be loaded, or is of another kind.
        """
        torch.set_num_threads(self._render.threads)
        model = self._sources.judge("clip_model", clip_model)
        with torch.inference_mode():
            return judging.alike(model, self._models, one, other)

    def _on(self, rung: Rung, rows: Sequence[Row], size: int, precise: bool) -> list[Picture | RowError]:
        """Render rows as this rung of the ladder has it."""
        context = self._context(rows[0].params)
        if rung.offload and context.pipe is not None:
            self._models.offload()
        upcast = precise and getattr(getattr(context.pipe, "vae", None), "dtype", torch.float32) != torch.float32
        degraded = {
            **({"batch_size": rung.size} if rung.size != size else {}),
            **({"vae_tiling": True} if rung.tiled else {}),
            **({"vae_dtype": "float32"} if upcast else {}),
        }
        if upcast:
            self._inputs.forget()  # latents that the VAE made in its own dtype
        found: list[Picture | RowError] = []
        # A picture that is alone has one place.
        unmoved = steady.off() if rung.size == 1 else nullcontext()
        with memory.tiled(context.pipe, rung.tiled), memory.precise(context.pipe, upcast), unmoved:
            for start in range(0, len(rows), rung.size):
                for one in self._drawn(context, rows[start : start + rung.size], rung.size):
                    found.append(replace(one, size=rung.size, degraded=degraded) if isinstance(one, Picture) else one)
        if upcast:
            self._inputs.forget()
        return found

    def _drawn(self, context: Context, rows: Sequence[Row], size: int) -> list[Picture | RowError]:
        twin = twins.get(rows[0].params["mode"])
        found: dict[int, Picture | RowError] = {}
        ready: dict[int, Any] = {}
        for at, row in enumerate(rows):
            try:
                ready[at] = twin.prepare(row, context)
            except InputError as error:
                found[at] = error
        for chunks, members in self._by_length(context, rows, list(ready)).items():
            batch = self._batch(context, [rows[at] for at in members], size, chunks)
            made = [
                replace(one, beside={**one.beside, **batch.beside(place)})
                for place, one in enumerate(twin.draw(batch, [ready[at] for at in members]))
            ]
            found.update((at, _seen(context, rows[at], one)) for at, one in zip(members, made, strict=True))
        return [found[at] for at in range(len(rows))]

    def _by_length(self, context: Context, rows: Sequence[Row], ready: Sequence[int]) -> dict[int, list[int]]:
        """Rows by how many chunks of 77 tokens their prompts take: a longer neighbour would change a row's bits."""
        found: dict[int, list[int]] = {}
        for at in ready:
            chunks = 1 if context.pipe is None else self._chunks(rows[at].params)
            found.setdefault(chunks, []).append(at)
        return found

    def _chunks(self, params: Mapping[str, Any]) -> int:
        assert self._texts is not None
        guided = params["guidance_scale"] > 1
        prompts = [params["prompt"], params["negative_prompt"]] if guided else [params["prompt"]]
        return max(self._texts.chunks(text, params["prompt_syntax"]) for text in prompts)

    def _context(self, params: Mapping[str, Any]) -> Context:
        """Load, or find loaded, what rows like these need, and set it as they ask."""
        mode, sources = modes.get(params["mode"]), self._sources
        model = sources.models.resolve(params["model"], params["revision"])
        vae = next(iter(sources.parts("vae", params["vae"])), None)
        pipe: Any = None
        if mode.PIPELINES[model.kind]:
            nets = sources.parts("controlnet", params["controlnet"])
            loads = self._models.loads
            if not self._models.holds(model):
                self._texts = None  # it holds the model before
            pipe = self._models.pipeline(model, mode.PIPELINES[model.kind], vae, nets)
            if self._models.loads != loads:
                self._inputs.forget()
                self._configs.clear()
            changed = self._models.carry(sources.finetunes.choose(params))
            if self._texts is None or self._texts.pipe is not pipe:
                self._texts = Texts(pipe, 1 if self._render.device == "cpu" else TOGETHER)
            elif changed:
                self._texts.forget()
            config = self._configs.setdefault(id(pipe), dict(pipe.scheduler.config))
            pipe.scheduler = schedulers.make(params["scheduler"], params["sigmas"], config)
        return Context(
            pipe=pipe,
            params=params,
            arguments=mode.arguments(params),
            inputs=self._inputs,
            models=self._models,
            sources=sources,
            encoder=model.hash if vae is None else vae.hash,
        )

    def _batch(self, context: Context, rows: Sequence[Row], size: int, chunks: int) -> Batch:
        """A batch of real rows, made up to the batch shape with copies of the last."""
        padded = [*rows, *[rows[-1]] * (size - len(rows))]
        guidance = Guidance([row.params["guidance_scale"] for row in padded])
        return Batch(
            context=context,
            rows=padded,
            count=len(rows),
            draws=noise.generators([row.params["seed"] for row in padded]),
            guidance=guidance,
            texts={} if context.pipe is None else self._encoded(padded, guidance > 1, chunks),
        )

    def _encoded(self, rows: Sequence[Row], guided: bool, chunks: int) -> dict[str, torch.Tensor]:
        """The pipeline's arguments that hold prompt embeddings, first dimension len(rows)."""
        assert self._texts is not None
        how = rows[0].params
        found: dict[str, torch.Tensor] = {}
        for name in ("prompt", "negative_prompt") if guided else ("prompt",):
            prompts = [row.params[name] for row in rows]
            made = self._texts.encode(prompts, clip_skip=how["clip_skip"], syntax=how["prompt_syntax"], chunks=chunks)
            prefix = name.removesuffix("prompt")
            pipe = self._texts.pipe
            if prefix and getattr(pipe.config, "force_zeros_for_empty_prompt", False):
                made = made.blank([not prompt for prompt in prompts])  # as SDXL has no negative prompt
            found[f"{prefix}prompt_embeds"] = made.embeds
            if made.pooled is not None:
                found[f"{prefix}pooled_prompt_embeds"] = made.pooled
        return found


def _seen(context: Context, row: Row, picture: Picture) -> Picture | RowError:
    """The picture, unless it is black all over and what it was made from is not: that is what NaN looks like."""
    if picture.pixels.any():
        return picture
    image = row.params["image"]
    if image is not None and not context.inputs.original(image).any():
        return picture
    return PictureError("the model gave a picture that is black all over")
