"""Prompt embeddings: each text encoded once, so that its bits never follow from its neighbours.

On a CPU each chunk is a call by itself, and a prompt without emphasis that fits into one chunk gives, bit for bit, what
the pipeline's own `encode_prompt` gives. On a GPU a call takes longer to begin than to compute, and chunks go through
together, always as many, made up with copies; `steady` sees to it that the places of a call are alike.

Weights are applied as AUTOMATIC1111's web UI applies them: each token's embedding times its weight, then all of them
times the mean before over the mean after. The web UI takes these means over one chunk of all pictures of a batch; here
it is over one chunk of one text, which is the same for a single picture and does not follow from the neighbours. With
two text encoders each one's embeddings are weighted on their own.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch

from sdbatch.errors import ModelError
from sdbatch.render.chunks import Chunk, Cutter

KEPT = 512
KEPT_BYTES = 64 << 20
"""Most texts, and most bytes of embeddings in the computer's memory, that are kept."""
TOGETHER = 16
"""Chunks of a call on a GPU: those of a batch and more, which take hardly longer there than one."""


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
    """Embeddings by one pipeline's text encoder or encoders.

    Args:
        together: how many chunks a call has, whatever there is to encode: bits follow from it.
    """

    def __init__(self, pipe: Any, together: int = 1) -> None:
        self.pipe, self._together = pipe, together
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
        short = any(self.chunks(text, syntax) < chunks for text in texts)
        with torch.no_grad():
            made = self._encoded(dict.fromkeys([*texts, ""] if short else texts), clip_skip, syntax)
        found = [self._long(made[text], chunks - self.chunks(text, syntax), made.get("")) for text in texts]
        device = self.pipe._execution_device
        embeds = torch.cat([embeds for embeds, _ in found]).to(device)
        pooled = [pooled for _, pooled in found if pooled is not None]
        return Encoded(embeds, torch.cat(pooled).to(device) if pooled else None)

    def _long(self, made: Kept, missing: int, nothing: Kept | None) -> Kept:
        """A text's embeddings with so many chunks of no text at all behind them."""
        assert missing >= 0, "a text takes more chunks than were asked for"
        embeds, pooled = made
        if missing:
            assert nothing is not None
            embeds = torch.cat([embeds, *[nothing[0]] * missing], dim=1)
        return embeds, pooled

    def _encoded(self, texts: Iterable[str], clip_skip: int | None, syntax: str) -> dict[str, Kept]:
        """Each text in as many chunks as it takes, in the computer's memory: a GPU's is for pictures."""
        keys = {text: (text, clip_skip, syntax) for text in texts}
        new = [text for text, key in keys.items() if key not in self._kept]
        for text, (embeds, pooled) in zip(new, self._encode(new, clip_skip or 0, syntax), strict=True):
            self._kept[keys[text]] = embeds.cpu(), None if pooled is None else pooled.cpu()
            self._bytes += embeds.nbytes
        found = {}
        for text, key in keys.items():
            self._kept.move_to_end(key)
            found[text] = self._kept[key]
        while len(self._kept) > 1 and (len(self._kept) > KEPT or self._bytes > KEPT_BYTES):
            self._bytes -= self._kept.popitem(last=False)[1][0].nbytes
        return found

    def _encode(self, texts: Sequence[str], clip_skip: int, syntax: str) -> list[Kept]:
        """Every text's chunks through every encoder; what each encoder makes of them side by side."""
        counts = [self.chunks(text, syntax) for text in texts]
        made = []
        for at, (_, encoder) in enumerate(self._encoders):
            empty = self._cut("", syntax)[at][0]
            cut = [self._cut(text, syntax)[at] for text in texts]
            padded = [[*has, *[empty] * (count - len(has))] for has, count in zip(cut, counts, strict=True)]
            each = iter(self._called(encoder, [chunk for one in padded for chunk in one], clip_skip))
            made.append([[next(each) for _ in one] for one in padded])
        found = []
        for by_encoder in zip(*made, strict=True):
            wide = [torch.cat([embeds for embeds, _ in chunks], dim=1) for chunks in by_encoder]
            embeds = torch.cat(wide, dim=-1).to(self._encoders[-1][1].dtype)
            found.append((embeds, by_encoder[-1][0][1]))  # pooled by the last encoder, of the first chunk
        return found

    def _called(self, encoder: Any, chunks: Sequence[Chunk], clip_skip: int) -> list[Kept]:
        """Chunks through one encoder: (1, 77, width) of each, and what it pools."""
        found: list[Kept] = []
        for start in range(0, len(chunks), self._together):
            some = chunks[start : start + self._together]
            embeds, pooled = self._call(encoder, [*some, *[some[-1]] * (self._together - len(some))], clip_skip)
            for at, chunk in enumerate(some):
                one = _weighted(embeds[at : at + 1], chunk.weights)
                found.append((one, None if pooled is None else pooled[at : at + 1]))
        return found

    def _call(self, encoder: Any, chunks: Sequence[Chunk], clip_skip: int) -> Kept:
        """One call: (chunks, 77, width), and what it pools."""
        device = self.pipe._execution_device
        ids = torch.tensor([chunk.ids for chunk in chunks], device=device)
        mask = None
        if getattr(encoder.config, "use_attention_mask", False) and not self._two and not self._pools:
            real = torch.tensor([chunk.real for chunk in chunks], device=device)
            mask = (torch.arange(ids.shape[1], device=device) < real[:, None]).long()
        skips = self._two or self._pools or clip_skip
        out = encoder(ids, attention_mask=mask, output_hidden_states=bool(skips))
        embeds = self._hidden(encoder, out, clip_skip) if skips else out.last_hidden_state
        pooled = out.text_embeds if self._two and "text_embeds" in out else None
        return embeds, out.pooler_output if self._pools else pooled

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
