"""How a picture was made, out of its fingerprint: the settings of `render:` that give it on this machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import product
from typing import Any

from sdbatch import plan
from sdbatch.foreign import Found
from sdbatch.render import device, fingerprint
from sdbatch.sources import acceleration
from sdbatch.types import Render

SIZES = (*range(1, 65), 96, 128)
"""Batch shapes that are tried."""
THREADS = range(1, 129)


class Settings:
    """Finds settings by fingerprints; one for many pictures."""

    def __init__(self) -> None:
        self.usual = device.settings({})
        self._device = device.describe(self.usual.device)
        self._versions = device.versions()
        self._known: dict[tuple[str, ...], Render | None] = {}

    def of(self, found: Found) -> Render | None:
        """The settings that made a picture of sdbatch's.

        A fingerprint is a hash: the settings that people use are tried until one gives it.

        Returns:
            None where none does: the picture was made by other versions, or on another kind of device.
        """
        wanted, model = found.own.get("fingerprint", ""), found.own.get("model_hash", "")
        if not wanted:
            return None
        versions = {**self._versions, **acceleration.versions(found.params.get("accelerate"))}
        key = wanted, model, *versions
        if key not in self._known:
            self._known[key] = self._search(wanted, model, versions, found.params)
        return self._known[key]

    def _search(self, wanted: str, model: str, versions: Mapping[str, str], params: Mapping[str, Any]) -> Render | None:
        usual = self._usual_size(params)
        if fingerprint.of(self.usual, self._device, versions, usual, model) == wanted:
            return self.usual
        for render in self._candidates():
            for size in SIZES:
                if fingerprint.of(render, self._device, versions, size, model) == wanted:
                    return render if size == usual else replace(render, batch_size=size)
        return None

    def _usual_size(self, params: Mapping[str, Any]) -> int:
        width, height = (params.get(side) or 512 for side in ("width", "height"))
        return plan.batch_size(self.usual, self._device.memory, width, height)

    def _candidates(self) -> Iterator[Render]:
        """The usual settings with any number of threads, then one or more of the others changed."""
        threads = THREADS if self._device.name == "cpu" else (self.usual.threads,)
        yield from (replace(self.usual, threads=count) for count in threads)
        few = (self.usual.threads, 1, 2, 4, 8) if self._device.name == "cpu" else (self.usual.threads,)
        names = ("threads", "dtype", "attention", "vae_tiling", "compile", "vram")
        for values in product(
            dict.fromkeys(few),
            ("float32", "float16", "bfloat16"),
            ("sdpa", "eager", "sliced"),
            (False, True),
            (False, True),
            ("auto", "low"),
        ):
            yield replace(self.usual, **dict(zip(names, values, strict=True)))
