"""A batch of rows → pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from sdbatch import modes
from sdbatch.errors import InputError
from sdbatch.render import modes as twins
from sdbatch.render import noise, schedulers
from sdbatch.render.batch import Batch, Context, Guidance, Picture
from sdbatch.render.inputs import Inputs
from sdbatch.render.models import Models
from sdbatch.render.text import Texts
from sdbatch.sources.names import Sources
from sdbatch.types import Render, Row


class Renderer:
    """Renders batches at one shape, padded, so that a picture's bits do not follow from its neighbours.

    Args:
        render: how; its `threads` are set here, whatever the environment says.
        sources: finds models, fine-tunes and pictures.
    """

    def __init__(self, render: Render, sources: Sources) -> None:
        self._render, self._sources = render, sources
        self._models = Models(render)
        self._inputs = Inputs(sources)
        self._texts: Texts | None = None
        self._configs: dict[int, dict[str, Any]] = {}

    @property
    def loads(self) -> int:
        """How many models were read so far."""
        return self._models.loads

    def render(self, rows: Sequence[Row], size: int) -> list[Picture | InputError]:
        """Render rows of one batch key: a picture each, or why its own inputs do not allow one.

        Args:
            size: the batch shape; at least len(rows).

        Raises:
            PictureError: a picture is not finite.
            ModelError: a model cannot be loaded.
        """
        torch.set_num_threads(self._render.threads)  # of this thread: an actor's calls come on several
        with torch.inference_mode():
            context = self._context(rows[0].params)
            twin = twins.get(rows[0].params["mode"])
            found: dict[int, Picture | InputError] = {}
            ready: dict[int, Any] = {}
            for at, row in enumerate(rows):
                try:
                    ready[at] = twin.prepare(row, context)
                except InputError as error:
                    found[at] = error
            for chunks, members in self._by_length(context, rows, list(ready)).items():
                batch = self._batch(context, [rows[at] for at in members], size, chunks)
                found.update(zip(members, twin.draw(batch, [ready[at] for at in members]), strict=True))
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
                self._texts = Texts(pipe)
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
