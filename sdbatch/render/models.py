"""Load pipelines: one at a time a worker, kept until another model is asked for."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import diffusers
import torch

from sdbatch.errors import ModelError
from sdbatch.types import Render


class Models:
    """The pipeline in hand.

    Args:
        render: dtype, device, attention and the like.
    """

    def __init__(self, render: Render) -> None:
        self._render = render
        self._held: tuple[Path, str] | None = None
        self._pipe: Any = None
        self.loads = 0

    def pipeline(self, path: Path, class_name: str) -> Any:
        """A pipeline of this class over the model in this folder.

        Raises:
            ModelError: the folder holds no whole model of that kind.
        """
        if self._held != (path, class_name):
            self._pipe = None  # free the old model before the new one is read
            self._pipe = self._load(path, class_name)
            self._held = (path, class_name)
            self.loads += 1
        return self._pipe

    def _load(self, path: Path, class_name: str) -> Any:
        quiet()
        options: dict[str, Any] = {"use_safetensors": True, "local_files_only": True}
        options |= {"dtype": getattr(torch, self._render.dtype)}
        try:
            pipe = getattr(diffusers, class_name).from_pretrained(
                str(path), safety_checker=None, requires_safety_checker=False, **options
            )
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise ModelError(f"model {path}: cannot be loaded as {class_name}: {error}") from error
        pipe.set_progress_bar_config(disable=True)
        if self._render.attention == "eager":
            pipe.unet.set_attn_processor(diffusers.models.attention_processor.AttnProcessor())
        elif self._render.attention == "sliced":
            pipe.enable_attention_slicing()
        if self._render.vae_tiling:
            pipe.vae.enable_tiling()
        if self._render.vram == "low" and self._render.device == "cuda":
            pipe.enable_model_cpu_offload()
        else:
            pipe.to(self._render.device)
        if self._render.compile:
            pipe.unet.compile()
        return pipe


def quiet() -> None:
    """Keep the libraries' bars and notices, which no user can act on, out of the progress display."""
    import transformers

    warnings.filterwarnings("ignore", module=r"(diffusers|transformers|torch|huggingface_hub)\b.*")
    for library in (diffusers.utils.logging, transformers.utils.logging):
        library.set_verbosity_error()
        library.disable_progress_bar()
