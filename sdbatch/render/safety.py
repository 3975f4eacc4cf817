"""A model's own safety checker, as a verdict: it never changes a pixel."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdbatch.errors import ModelError
from sdbatch.sources import layouts
from sdbatch.types import Render

_CHECKER, _EXTRACTOR = "safety_checker", "feature_extractor"


def present(path: Path) -> bool:
    """Whether the model in this folder has a safety checker."""
    return (path / _CHECKER / "config.json").is_file()


class Safety:
    """The safety checker of one model.

    Args:
        path: the model's folder.
        device, dtype: as `Render` has them.

    Raises:
        ModelError: the checker is not whole, or only a pickle.
    """

    def __init__(self, path: Path, device: str, dtype: str) -> None:
        import torch
        from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
        from safetensors import SafetensorError
        from transformers import CLIPImageProcessorPil

        local: dict[str, Any] = {"local_files_only": True}
        self._device, self._dtype = device, getattr(torch, dtype)
        try:
            self._extractor = CLIPImageProcessorPil.from_pretrained(str(path / _EXTRACTOR), **local)
            self._checker = StableDiffusionSafetyChecker.from_pretrained(
                str(path / _CHECKER),
                use_safetensors=True,
                variant=layouts.variant(path / _CHECKER),
                dtype=self._dtype,
                **local,
            )
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            raise ModelError(f"model {path}: its safety checker cannot be loaded: {error}") from error
        self._checker.to(device).eval()

    def check(self, pictures: Sequence[NDArray[np.uint8]]) -> list[bool]:
        """Whether each (h, w, 3) uint8 RGB picture is flagged; one at a time, so that none depends on another."""
        return [self._flagged(picture) for picture in pictures]

    def _flagged(self, picture: NDArray[np.uint8]) -> bool:
        import torch
        from PIL import Image

        seen = self._extractor(Image.fromarray(picture), return_tensors="pt").pixel_values
        # The checker blackens what it flags: it gets something else to blacken.
        stand_in = [np.zeros((1, 1, 3), np.float32)]
        with torch.inference_mode():
            _, flagged = self._checker(clip_input=seen.to(self._device, self._dtype), images=stand_in)
        return bool(flagged[0])


class Checkers:
    """The safety checker of the model in hand, loaded when a picture first asks for it."""

    def __init__(self, render: Render) -> None:
        self._render = render
        self._held: tuple[Path, Safety | None] | None = None

    def verdict(self, path: Path, picture: NDArray[np.uint8]) -> str | None:
        """`safe` or `flagged`; None where the model in this folder has no checker.

        Raises:
            ModelError: the checker cannot be loaded.
        """
        if self._held is None or self._held[0] != path:
            self._held = None  # free the old one before the new one is read
            checker = Safety(path, self._render.device, self._render.dtype) if present(path) else None
            self._held = (path, checker)
        checker = self._held[1]
        if checker is None:
            return None
        return "flagged" if checker.check([picture])[0] else "safe"
