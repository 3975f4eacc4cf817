"""Input pictures as the pipelines take them: decoded, encoded and measured once, however many rows share them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sdbatch.errors import InputError
from sdbatch.sources import depths, masks, pictures
from sdbatch.sources.names import Sources

Pixels = NDArray[np.uint8]
KEPT_BYTES = 512 << 20


class Inputs:
    """What was made of input pictures, the latest `most` bytes of it.

    Args:
        sources: finds the files.
    """

    def __init__(self, sources: Sources, most: int = KEPT_BYTES) -> None:
        self._sources, self._most, self._bytes = sources, most, 0
        self._kept: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()

    def kept(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """What `make` gave for this key before, or gives now. Arrays and tensors only; never changed afterwards."""
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key][0]
        made = make()
        size = sum(part.nbytes for part in (made if isinstance(made, tuple) else (made,)))
        self._kept[key], self._bytes = (made, size), self._bytes + size
        while self._bytes > self._most and len(self._kept) > 1:
            _, (_, freed) = self._kept.popitem(last=False)
            self._bytes -= freed
        return made

    def forget(self) -> None:
        """Drop everything: the models that it was made by are gone."""
        self._kept.clear()
        self._bytes = 0

    def original(self, name: str) -> Pixels:
        """A picture at its own size, upright, (height, width, 3) sRGB.

        Raises:
            InputError: it is missing, broken or too large.
        """
        found: Pixels = self.kept((self._hash(name), "original"), lambda: pictures.read(self._path(name)))
        return found

    def picture(self, name: str, width: int, height: int, fit: str) -> Pixels:
        """A picture brought to a size, (height, width, 3).

        Raises:
            InputError: it is missing, broken or too large.
        """
        key = (self._hash(name), width, height, fit)
        found: Pixels = self.kept(key, lambda: pictures.fit(self.original(name), width, height, fit))
        return found

    def mask(self, value: Any, name: str) -> NDArray[np.bool_]:
        """A row's mask at its picture's own size, (height, width); True is to be repainted.

        Raises:
            InputError: the mask or the picture cannot be read, or it selects nothing.
        """
        pixels = self.original(name)
        height, width = pixels.shape[:2]
        value = masks.renamed(value, self._sources.inputs.real)
        grey = masks.read(value, self._path(name), (width, height), self._sources.base, pixels, self._sources.within)
        return np.asarray(grey >= 128)

    def depth(self, name: str, width: int, height: int, fit: str) -> NDArray[np.float32]:
        """A given depth map brought to a size, (height, width) float32; larger is nearer.

        Raises:
            InputError: it is missing, broken or flat.
        """
        key = (self._hash(name), "depth", width, height, fit)
        found: NDArray[np.float32] = self.kept(
            key, lambda: pictures.fit(depths.read(self._path(name)), width, height, fit)
        )
        return found

    def content(self, name: str) -> str:
        """A picture's content hash."""
        return self._hash(name)

    def _hash(self, name: str) -> str:
        return self._sources.inputs.find(name).sha256

    def _path(self, name: str) -> Any:
        found = self._sources.inputs.find(name)
        if found.problem:
            raise InputError(found.problem)
        return found.path


def tensor(pixels: Pixels) -> torch.Tensor:
    """(height, width, 3) uint8 → (1, 3, height, width) float32 in 0 to 1, on the CPU."""
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255
