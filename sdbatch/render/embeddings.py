"""Textual inversion embeddings: words that stand for vectors of their own in place of a tokenizer's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from sdbatch.errors import ModelError
from sdbatch.render.modules import Swaps

_ENCODERS = (("text_encoder", "tokenizer", "clip_l"), ("text_encoder_2", "tokenizer_2", "clip_g"))


def apply(swaps: Swaps, pipe: Any, embeddings: Sequence[tuple[str, Mapping[str, torch.Tensor], str]]) -> None:
    """Teach words to a pipeline's tokenizers and text encoders.

    A word is read as it is given and all in lower case; anywhere else it stays what it was. One of several vectors
    is told to the tokenizer as `word`, `word_1`, `word_2` …, as diffusers' `maybe_convert_prompt` expects.

    Args:
        embeddings: what errors call each, its file's tensors, its word.

    Raises:
        ModelError: one does not fit the model, or its word means something already; nothing was changed.
    """
    present = [names for names in _ENCODERS if getattr(pipe, names[0], None) is not None]
    plans = []
    for encoder_name, tokenizer_name, key in present:
        encoder, tokenizer = getattr(pipe, encoder_name), getattr(pipe, tokenizer_name)
        vectors: dict[str, torch.Tensor] = {}
        for title, tensors, word in embeddings:
            rows = _rows(title, tensors, key if len(present) > 1 else None)
            _check(title, rows, word, encoder, tokenizer)
            for spelled in dict.fromkeys((word, word.lower())):
                for at, vector in enumerate(rows):
                    token = f"{spelled}_{at}" if at else spelled
                    if token in vectors:
                        raise ModelError(f"{title}: {token!r} is another embedding's word; give one of them another")
                    vectors[token] = vector
        plans.append((encoder, tokenizer, vectors))
    for encoder, tokenizer, vectors in plans:
        _teach(swaps, encoder, tokenizer, vectors)


def flatten(state: Any) -> tuple[dict[str, torch.Tensor], dict[str, str]] | None:
    """What AUTOMATIC1111 or diffusers pickled → tensors and metadata of a safetensors file; None where it is neither.

    Args:
        state: the unpickled mapping: `string_to_param: {"*": vectors}` and settings; or one word → vector.
    """
    if not isinstance(state, Mapping):
        return None
    if isinstance(state.get("string_to_param"), Mapping):
        found: dict[Any, Any] = {"emb_params": next(iter(state["string_to_param"].values()), None)}
        name = state.get("name")
        about = {"name": name} if isinstance(name, str) else {}
    else:
        found, about = dict(state), {}
        if len(found) != 1 and set(found) != {"clip_l", "clip_g"}:
            return None
    for key, tensor in found.items():
        sound = isinstance(key, str) and isinstance(tensor, torch.Tensor) and tensor.is_floating_point()
        if not sound or not 1 <= tensor.dim() <= 2 or not tensor.numel():
            return None
    return {key: tensor.detach().clone().contiguous() for key, tensor in found.items()}, {**about, "format": "pt"}


def _rows(title: str, tensors: Mapping[str, torch.Tensor], key: str | None) -> torch.Tensor:
    """An embedding's vectors for one text encoder: (count, width)."""
    if key is None and len(tensors) > 1:
        raise ModelError(f"{title}: made for another model: for two text encoders, and this one has one")
    if key is not None and key not in tensors:
        raise ModelError(f"{title}: made for another model: for one text encoder, and this one has two")
    rows = tensors[key] if key else next(iter(tensors.values()))
    return rows if rows.dim() > 1 else rows[None]


def _check(title: str, rows: torch.Tensor, word: str, encoder: Any, tokenizer: Any) -> None:
    width = encoder.get_input_embeddings().weight.shape[1]
    if rows.shape[1] != width:
        raise ModelError(
            f"{title}: made for another model: its vectors have {rows.shape[1]} numbers, this one's {width}"
        )
    known = tokenizer.get_vocab()
    if any(token in known for token in (word, word.lower(), f"{word.lower()}</w>")):
        raise ModelError(f"{title}: {word!r} means something to the model already; give it a word: {{name, token}}")


def _teach(swaps: Swaps, encoder: Any, tokenizer: Any, vectors: Mapping[str, torch.Tensor]) -> None:
    from tokenizers import Tokenizer
    from transformers import AddedToken

    swaps.attribute(tokenizer, "_tokenizer", Tokenizer.from_str(tokenizer._tokenizer.to_str()))
    # As written: a normalized token is matched in any case, but then diffusers does not find the rest of its vectors.
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in vectors])
    old = encoder.get_input_embeddings()
    with torch.inference_mode(False):
        weight = old.weight.new_zeros((max(len(tokenizer), old.weight.shape[0]), old.weight.shape[1]))
        weight[: old.weight.shape[0]] = old.weight.detach()
        for token, vector in vectors.items():
            weight[tokenizer.convert_tokens_to_ids(token)] = vector.to(weight.device, weight.dtype)
        new = nn.Embedding(weight.shape[0], weight.shape[1], padding_idx=old.padding_idx, _weight=weight, _freeze=True)
    path = next(path for path, module in encoder.named_modules() if module is old)
    swaps.module(encoder, path, new)
    core = getattr(encoder, "text_model", encoder)
    if getattr(core, "eos_token_id", None) == 2:
        # An old configuration, by which the end of a text is its highest token: these words would be higher.
        swaps.attribute(core, "eos_token_id", tokenizer.eos_token_id)
