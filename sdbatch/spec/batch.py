"""Rows in hand by column, and their ids and row keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from sdbatch.spec import hashing, keys
from sdbatch.spec.columns import Column
from sdbatch.spec.hashing import Work


@dataclass(frozen=True)
class Batch:
    """Rows in hand: every parameter and free column, and what follows from them.

    Attributes:
        numbers: (n,) int64, ascending.
        columns: the axes and constants as given.
        params: every parameter, prompts filled in; `templates` has them as written.
        fields: free columns, as texts.
        work: what the ids are made of.
        keys: batch keys.
        stage: the name of the rows' stage.
        answer: what `hashing.digests` made of `work`, or of `lined()`; empty where that is still to be done.
    """

    numbers: NDArray[np.int64]
    columns: Mapping[str, Column]
    params: Mapping[str, Column]
    templates: Mapping[str, Column]
    fields: Mapping[str, Column]
    work: Work
    keys: Column
    stage: str
    answer: bytes = b""

    def lined(self) -> Work:
        """What ids and row keys are made of."""
        return self.work._replace(lines=keys.line_texts(self.stage, self.fields))

    @cached_property
    def digests(self) -> tuple[bytes, bytes]:
        """Ids and row keys, hashed here if they were not before."""
        size = len(self.numbers) * hashing.DIGEST_BYTES
        found = self.answer if len(self.answer) == 2 * size else hashing.digests(self.lined())
        return found[:size], found[size:]

    @cached_property
    def ids(self) -> list[str]:
        """The ids as hex texts."""
        return _texts(self.answer[: len(self.numbers) * hashing.DIGEST_BYTES] or self.digests[0])

    @cached_property
    def rows(self) -> list[str]:
        """The row keys as hex texts."""
        return _texts(self.digests[1])


def _texts(digests: bytes) -> list[str]:
    text, size = digests.hex(), 2 * hashing.DIGEST_BYTES
    return [text[at : at + size] for at in range(0, len(text), size)]
