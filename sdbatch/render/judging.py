"""What models make of a picture: how it fits its prompt, and how it looks."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sdbatch.errors import ModelError
from sdbatch.prompts import emphasis
from sdbatch.render.batch import Context
from sdbatch.render.models import Models
from sdbatch.sources.models import Model
from sdbatch.types import Row

Pixels = NDArray[np.uint8]


def judged(context: Context, row: Row, pixels: Pixels) -> dict[str, float]:
    """Scores by the models that a row names; one picture a call, so that no neighbour changes them.

    Args:
        pixels: (height, width, 3) uint8 sRGB.

    Returns:
        `clip`: the cosine of the angle between CLIP's embeddings of the picture and of the prompt's words (Radford et
        al., 2021), -1 to 1; of a prompt that is longer than CLIP reads, its beginning counts. `aesthetic`: what linear
        layers make of the picture's embedding at length 1, as LAION's predictor does. Nothing without models.

    Raises:
        ModelError: a model cannot be loaded, or they do not go together.
    """
    params = row.params
    if params["clip_model"] is None:
        return {}
    model = context.sources.judge("clip_model", params["clip_model"])
    clip, processor, tokenizer = (context.models.part(model, part) for part in ("clip", "image_processor", "tokenizer"))
    seen = _seen(clip, processor, pixels)
    words = plain(params["prompt"], params["prompt_syntax"])
    asked = context.inputs.kept(("clip", model.hash, words), lambda: _words(clip, tokenizer, words))
    found = {"clip": round(float((seen * asked).sum()), 6)}
    if params["aesthetic_model"] is not None:
        head = context.sources.judge("aesthetic_model", params["aesthetic_model"])
        layers = context.models.part(head, "aesthetic")
        width = layers[0].in_features
        if width != seen.shape[-1]:
            raise ModelError(
                f"aesthetic_model {head.name!r}: reads embeddings of {width} numbers, and clip_model {model.name!r} "
                f"makes {seen.shape[-1]}"
            )
        found["aesthetic"] = round(float(layers(seen.to(layers[0].weight.dtype))), 6)
    return found


def alike(model: Model, models: Models, one: Pixels, other: Pixels) -> float:
    """The cosine between CLIP's embeddings of two pictures."""
    clip, processor = (models.part(model, part) for part in ("clip", "image_processor"))
    return float((_seen(clip, processor, one) * _seen(clip, processor, other)).sum())


def plain(prompt: str, syntax: str) -> str:
    """A prompt's words without its emphasis."""
    if syntax == "plain":
        return prompt
    return " ".join("".join(piece.text for piece in section) for section in emphasis.parse(prompt)).strip()


def _words(clip: Any, tokenizer: Any, words: str) -> torch.Tensor:
    most = clip.config.text_config.max_position_embeddings
    tokens = tokenizer([words], truncation=True, max_length=most, return_tensors="pt")["input_ids"].to(clip.device)
    return _unit(clip.text_projection(clip.text_model(input_ids=tokens).pooler_output))


def _seen(clip: Any, processor: Any, pixels: Pixels) -> torch.Tensor:
    values = processor(images=pixels, return_tensors="pt")["pixel_values"].to(clip.device, clip.dtype)
    return _unit(clip.visual_projection(clip.vision_model(pixel_values=values).pooler_output))


def _unit(embedding: torch.Tensor) -> torch.Tensor:
    """(1, n) float32 of length 1."""
    wide = embedding.float()
    return wide / wide.norm(dim=-1, keepdim=True)
