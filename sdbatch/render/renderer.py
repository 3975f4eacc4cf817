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
            if ready:
                batch = self._batch(context, [rows[at] for at in ready], size)
                found.update(zip(ready, twin.draw(batch, list(ready.values())), strict=True))
        return [found[at] for at in range(len(rows))]

    def _context(self, params: Mapping[str, Any]) -> Context:
        """Load, or find loaded, what rows like these need, and set it as they ask."""
        mode, sources = modes.get(params["mode"]), self._sources
        model = sources.models.resolve(params["model"], params["revision"])
        vae = next(iter(sources.parts("vae", params["vae"])), None)
        pipe = None
        if mode.PIPELINES[model.kind]:
            nets = sources.parts("controlnet", params["controlnet"])
            loads = self._models.loads
            pipe = self._models.pipeline(model, mode.PIPELINES[model.kind], vae, nets)
            if self._models.loads != loads:
                self._inputs.forget()
                self._configs.clear()
            if self._texts is None or self._texts.pipe is not pipe:
                self._texts = Texts(pipe)
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

    def _batch(self, context: Context, rows: Sequence[Row], size: int) -> Batch:
        """A batch of real rows, made up to the batch shape with copies of the last."""
        padded = [*rows, *[rows[-1]] * (size - len(rows))]
        guidance = Guidance([row.params["guidance_scale"] for row in padded])
        return Batch(
            context=context,
            rows=padded,
            count=len(rows),
            draws=noise.generators([row.params["seed"] for row in padded]),
            guidance=guidance,
            texts=self._encoded(padded, guidance > 1) if context.pipe is not None else {},
        )

    def _encoded(self, rows: Sequence[Row], guided: bool) -> dict[str, torch.Tensor]:
        assert self._texts is not None
        found = {"prompt_embeds": self._encode(rows, "prompt")}
        if guided:
            found["negative_prompt_embeds"] = self._encode(rows, "negative_prompt")
        return found

    def _encode(self, rows: Sequence[Row], name: str) -> torch.Tensor:
        assert self._texts is not None
        return self._texts.encode([row.params[name] for row in rows], rows[0].params["clip_skip"])
