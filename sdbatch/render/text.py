"""Prompt embeddings: each text encoded once, alone, so that its bits never follow from its neighbours."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch

KEPT = 4096


class Texts:
    """Embeddings of one pipeline's text encoder."""

    def __init__(self, pipe: Any) -> None:
        self.pipe = pipe
        self._kept: OrderedDict[tuple[str, int | None], torch.Tensor] = OrderedDict()

    def encode(self, texts: list[str], clip_skip: int | None) -> torch.Tensor:
        """Embeddings as the pipeline itself makes them: (len(texts), 77, width) in the encoder's dtype."""
        return torch.cat([self._one(text, clip_skip) for text in texts])

    def _one(self, text: str, clip_skip: int | None) -> torch.Tensor:
        key = (text, clip_skip)
        if key not in self._kept:
            embedding, _ = self.pipe.encode_prompt(
                prompt=text,
                device=self.pipe._execution_device,
                num_images_per_prompt=1,
                do_classifier_free_guidance=False,
                clip_skip=clip_skip,
            )
            self._kept[key] = embedding
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]
