"""Fine-tunes on and off: a pipeline carries exactly those that its rows name, and without them is the base again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch

from sdbatch.errors import ModelError
from sdbatch.render import embeddings as inversion
from sdbatch.render import hypernetworks, loras
from sdbatch.render.modules import Swaps
from sdbatch.sources import headers
from sdbatch.sources.finetunes import FineTune

KEPT_BYTES = 2**30
"""How much of the files read is kept in memory, so that leases that take turns read none again."""


class _Files:
    """Tensors and metadata of files, the latest used ones kept."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept: OrderedDict[str, tuple[dict[str, torch.Tensor], dict[str, str]]] = OrderedDict()

    def read(self, tune: FineTune) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
        """A file's tensors, on the CPU, and its metadata.

        Raises:
            ModelError: it cannot be read.
        """
        if tune.sha256 not in self._kept:
            from safetensors import SafetensorError
            from safetensors.torch import load_file

            try:
                metadata = dict(headers.read(tune.path).metadata)
                self._kept[tune.sha256] = load_file(tune.path), metadata
            except (OSError, ValueError, SafetensorError) as error:
                raise ModelError(f"{tune.title}: {tune.path} cannot be read: {error}") from error
            self._trim()
        self._kept.move_to_end(tune.sha256)
        return self._kept[tune.sha256]

    def _trim(self) -> None:
        sizes = [sum(tensor.nbytes for tensor in tensors.values()) for tensors, _ in self._kept.values()]
        while len(sizes) > 1 and sum(sizes) > self._limit:
            self._kept.popitem(last=False)
            sizes.pop(0)


class FineTunes:
    """The fine-tunes of one set of components, which several pipelines may share.

    Args:
        pipe: any pipeline over these components; its UNet, text encoders and tokenizers are changed in place.
    """

    def __init__(self, pipe: Any, kept_bytes: int = KEPT_BYTES) -> None:
        self._pipe = pipe
        self._files = _Files(kept_bytes)
        self._swaps = Swaps()
        self._on: Any = _key((), (), None)

    def use(
        self,
        loras: Sequence[tuple[FineTune, float]],
        embeddings: Sequence[tuple[FineTune, str]],
        hypernetwork: tuple[FineTune, float] | None,
    ) -> bool:
        """Carry exactly these, whatever was carried before; the same again costs nothing.

        A LoRA or hypernetwork of weight 0 is left out, so that its picture is the base's bit for bit.

        Args:
            loras: with their weights, in the order in which they are added up.
            embeddings: with the words that call them up.
            hypernetwork: with its strength.

        Returns:
            Whether anything changed since the last call that returned: prompt embeddings kept from before are stale.

        Raises:
            ModelError: one cannot be read or does not fit the model; the pipeline is the base then.
        """
        wanted = _key(loras, embeddings, hypernetwork)
        if wanted == self._on:
            return False
        self._swaps.restore()
        self._on = None  # should the rest fail, the next call reports a change
        try:
            self._put_on(loras, embeddings, hypernetwork)
        except BaseException:
            self._swaps.restore()
            raise
        self._on = wanted
        return True

    def clear(self) -> bool:
        """Go back to the base; whether that changed anything."""
        return self.use((), (), None)

    def _put_on(
        self,
        chosen: Sequence[tuple[FineTune, float]],
        embeddings: Sequence[tuple[FineTune, str]],
        hypernetwork: tuple[FineTune, float] | None,
    ) -> None:
        files = self._files.read
        layers = [(tune.title, loras.layers(tune.title, *files(tune)), weight) for tune, weight in chosen if weight]
        if layers:
            loras.apply(self._swaps, self._pipe, layers)
        if embeddings:
            words = [(tune.title, files(tune)[0], word) for tune, word in embeddings]
            inversion.apply(self._swaps, self._pipe, words)
        if hypernetwork and hypernetwork[1]:
            tune, strength = hypernetwork
            found = hypernetworks.networks(tune.title, *files(tune))
            hypernetworks.apply(self._swaps, tune.title, self._pipe.unet, found, strength)


def _key(
    loras: Sequence[tuple[FineTune, float]],
    embeddings: Sequence[tuple[FineTune, str]],
    hypernetwork: tuple[FineTune, float] | None,
) -> Any:
    """What decides the network: contents, weights and words."""
    return (
        tuple((tune.sha256, weight) for tune, weight in loras if weight),
        tuple((tune.sha256, word) for tune, word in embeddings),
        (hypernetwork[0].sha256, hypernetwork[1]) if hypernetwork and hypernetwork[1] else None,
    )
