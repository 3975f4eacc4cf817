"""Components out of a checkpoint in the original layout, whose keys diffusers knows how to rename."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers

from sdbatch.errors import ModelError
from sdbatch.sources import vocabulary
from sdbatch.sources.layouts import config
from sdbatch.sources.single_file import SingleFile

State = dict[str, torch.Tensor]


def component(name: str, part: str, kind: Any, state: State, found: SingleFile, dtype: torch.dtype) -> Any:
    """One component of a whole checkpoint.

    Args:
        name: the model's, for errors.
        part: such as `unet` or `text_encoder_2`.
        kind: its class.
        state: all tensors of the file, by their original keys.

    Raises:
        ModelError: the file lacks weights of it.
    """
    folder = found.config / part
    if issubclass(kind, transformers.PreTrainedTokenizerBase):
        return _tokenizer(name, kind, folder)
    if issubclass(kind, diffusers.SchedulerMixin):
        said = {"prediction_type": found.prediction} if found.prediction else {}
        return kind.from_config({**kind.load_config(str(folder), local_files_only=True), **said})
    return weights(name, part, kind, state, found, dtype)


def weights(name: str, part: str, kind: Any, state: State, found: SingleFile, dtype: torch.dtype) -> Any:
    """A network of the checkpoint, on the CPU and ready to be evaluated.

    Raises:
        ModelError: the file lacks weights of it.
    """
    if issubclass(kind, transformers.PreTrainedModel):
        from diffusers.loaders.single_file_utils import create_diffusers_clip_model_from_ldm

        made = create_diffusers_clip_model_from_ldm(
            kind, state, subfolder=part, config=str(found.config), local_files_only=True
        )
    else:
        folder = found.config if part == "vae" and found.kind == "vae" else found.config / part
        channels = {"in_channels": found.channels} if part == "unet" else {}
        try:
            made = kind.from_single_file(state, config=str(folder), local_files_only=True, **channels)
        except NotImplementedError as error:  # how torch says that a weight was never filled in
            raise ModelError(f"model {name!r}: the checkpoint lacks weights of its {part}") from error
    lacking = [key for key, tensor in made.state_dict().items() if tensor.is_meta]
    if lacking:
        more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
        raise ModelError(f"model {name!r}: the checkpoint lacks weights of its {part}: {lacking[0]}{more}")
    return made.to(dtype)


def _tokenizer(name: str, kind: Any, folder: Path) -> Any:
    """From the folder's own vocabulary if it has one, else CLIP's."""
    if any((folder / file).exists() for file in ("vocab.json", "tokenizer.json")):
        return kind.from_pretrained(str(folder), local_files_only=True)
    given: Mapping[str, Any] = config(name, folder / "tokenizer_config.json")
    options = {key: value for key, value in given.items() if key.endswith("_token") or key == "model_max_length"}
    return kind(vocab=dict(vocabulary.vocabulary()), merges=list(vocabulary.merges()), **options)
