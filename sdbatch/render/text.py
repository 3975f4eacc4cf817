"""Prompt embeddings: each text encoded once, alone, so that its bits never follow from its neighbours.

A prompt without emphasis that fits into one chunk gives, bit for bit, what the pipeline's own `encode_prompt` gives.

Weights are applied as AUTOMATIC1111's web UI applies them: each token's embedding times its weight, then all of them
times the mean before over the mean after. The web UI takes these means over one chunk of all pictures of a batch; here
it is over one chunk of one text, which is the same for a single picture and does not follow from the neighbours. With
two text encoders each one's embeddings are weighted on their own.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch

from sdbatch.errors import ModelError
from sdbatch.render.chunks import Chunk, Cutter

KEPT = 512
KEPT_BYTES = 64 << 20
"""Most texts, and most bytes of embeddings in the computer's memory, that are kept."""


@dataclass(frozen=True)
class Encoded:
    """What a pipeline is given for its prompts.

    Attributes:
        embeds: (texts, 77 × chunks, width) in the text encoder's dtype, on the pipeline's device.
        pooled: (texts, width) from each text's first chunk, for the pipelines that take it; else None.
    """

    embeds: torch.Tensor
    pooled: torch.Tensor | None

    def blank(self, which: Sequence[bool]) -> Encoded:
        """The same with all zeros for these texts."""
        kept = torch.tensor([not one for one in which], device=self.embeds.device)
        pooled = None if self.pooled is None else torch.where(kept[:, None], self.pooled, 0)
        return Encoded(torch.where(kept[:, None, None], self.embeds, 0), pooled)


Kept = tuple[torch.Tensor, torch.Tensor | None]


class Texts:
    """Embeddings by one pipeline's text encoder or encoders."""

    def __init__(self, pipe: Any) -> None:
        self.pipe = pipe
        self._kept: OrderedDict[tuple[str, int | None, str], Kept] = OrderedDict()
        self._bytes = 0
        names = [("tokenizer", "text_encoder"), ("tokenizer_2", "text_encoder_2")]
        present = [pair for pair in names if all(getattr(pipe, name, None) is not None for name in pair)]
        self._encoders = [tuple(getattr(pipe, name) for name in pair) for pair in present]
        self._two = hasattr(pipe, "text_encoder_2")  # SDXL, or its refiner, which has the second alone
        # Its pipeline is the only one with one encoder that takes what it pools.
        self._pools = type(pipe).__name__ == "StableDiffusionLatentUpscalePipeline"
        self.forget()

    def forget(self) -> None:
        """Drop what was computed: the text encoders or tokenizers have changed."""
        self._kept.clear()
        self._bytes = 0
        cutters = [
            Cutter(tokenizer, min(tokenizer.model_max_length, encoder.config.max_position_embeddings))
            for tokenizer, encoder in self._encoders
        ]

        @lru_cache(KEPT)  # of no method: what is kept must go with this object, not wait for the collector of cycles
        def cut(text: str, syntax: str) -> list[list[Chunk]]:
            """A text's chunks for each encoder."""
            return [cutter.cut(text, syntax) for cutter in cutters]

        self._cut = cut

    def chunks(self, text: str, syntax: str) -> int:
        """How many chunks of 75 tokens a text takes: at least 1."""
        return max(len(chunks) for chunks in self._cut(text, syntax))

    def encode(self, texts: Sequence[str], *, clip_skip: int | None, syntax: str, chunks: int) -> Encoded:
        """Encode texts, shorter ones made up to `chunks` with the embedding of no text at all.

        Args:
            clip_skip: layers of the text encoder left out at the end, as diffusers counts them; None is 0.
            syntax: `a1111`, or `plain` for texts without emphasis.
            chunks: at least what the longest of the texts takes.

        Raises:
            ModelError: the text encoder has no more layers to leave out.
        """
        with torch.no_grad():
            found = [self._one(text, clip_skip, syntax, chunks) for text in texts]
        device = self.pipe._execution_device
        embeds = torch.cat([embeds for embeds, _ in found]).to(device)
        pooled = [pooled for _, pooled in found if pooled is not None]
        return Encoded(embeds, torch.cat(pooled).to(device) if pooled else None)

    def _one(self, text: str, clip_skip: int | None, syntax: str, chunks: int) -> Kept:
        embeds, pooled = self._encoded(text, clip_skip, syntax)
        missing = chunks - self.chunks(text, syntax)
        assert missing >= 0, "a text takes more chunks than were asked for"
        if missing:
            nothing, _ = self._encoded("", clip_skip, syntax)
            embeds = torch.cat([embeds, *[nothing] * missing], dim=1)
        return embeds, pooled

    def _encoded(self, text: str, clip_skip: int | None, syntax: str) -> Kept:
        """A text in as many chunks as it takes, in the computer's memory: a GPU's is for pictures."""
        key = (text, clip_skip, syntax)
        if key not in self._kept:
            embeds, pooled = self._encode(text, clip_skip or 0, syntax)
            self._kept[key] = embeds.cpu(), None if pooled is None else pooled.cpu()
            self._bytes += embeds.nbytes
            while len(self._kept) > 1 and (len(self._kept) > KEPT or self._bytes > KEPT_BYTES):
                self._bytes -= self._kept.popitem(last=False)[1][0].nbytes
        self._kept.move_to_end(key)
        return self._kept[key]

    def _encode(self, text: str, clip_skip: int, syntax: str) -> Kept:
        cut = self._cut(text, syntax)
        count = max(len(chunks) for chunks in cut)
        widths: list[torch.Tensor] = []
        pooled: torch.Tensor | None = None
        for at, ((_, encoder), chunks) in enumerate(zip(self._encoders, cut, strict=True)):
            empty = self._cut("", syntax)[at][0]
            made = [self._call(encoder, chunk, clip_skip) for chunk in [*chunks, *[empty] * (count - len(chunks))]]
            widths.append(torch.cat([embeds for embeds, _ in made], dim=1))
            pooled = made[0][1]  # the last encoder's
        embeds = torch.cat(widths, dim=-1).to(self._encoders[-1][1].dtype)
        return embeds, pooled

    def _call(self, encoder: Any, chunk: Chunk, clip_skip: int) -> Kept:
        """One chunk through one encoder: (1, 77, width), and what it pools."""
        device = self.pipe._execution_device
        ids = torch.tensor([chunk.ids], device=device)
        mask = None
        if getattr(encoder.config, "use_attention_mask", False) and not self._two and not self._pools:
            mask = (torch.arange(len(chunk.ids), device=device) < chunk.real).long()[None]
        skips = self._two or self._pools or clip_skip
        out = encoder(ids, attention_mask=mask, output_hidden_states=bool(skips))
        embeds = self._hidden(encoder, out, clip_skip) if skips else out.last_hidden_state
        pooled = out.text_embeds if self._two and "text_embeds" in out else None
        pooled = out.pooler_output if self._pools else pooled
        return _weighted(embeds, chunk.weights), pooled

    def _hidden(self, encoder: Any, out: Any, clip_skip: int) -> torch.Tensor:
        """The layer that the pipeline uses: `clip_skip` before its own, which is SDXL's last but one."""
        states = out.hidden_states
        back = clip_skip + (2 if self._two else 1)
        if back > len(states):
            layers = len(states) - 1
            most = layers - (1 if self._two else 0)
            raise ModelError(f"clip_skip {clip_skip}: this text encoder has {layers} layers; at most {most}")
        state: torch.Tensor = states[-back]
        if self._two or self._pools:
            return state
        # diffusers 0.42 looks for the norm below `text_model`, where transformers 5 no longer has it.
        core = getattr(encoder, "text_model", encoder)
        normed: torch.Tensor = core.final_layer_norm(state)
        return normed


def _weighted(embeds: torch.Tensor, weights: Sequence[float]) -> torch.Tensor:
    """Embeddings (1, length, width) by their tokens' weights, their mean kept; untouched where all weights are 1."""
    if all(weight == 1.0 for weight in weights):
        return embeds
    before = embeds.to(torch.promote_types(embeds.dtype, torch.float32))
    after = before * torch.tensor(weights, dtype=before.dtype, device=before.device)[None, :, None]
    mean = after.mean()
    if mean != 0:
        after = after * (before.mean() / mean)
    return after.to(embeds.dtype)
