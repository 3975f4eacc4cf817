"""What is done when memory does not suffice: rung after rung of a ladder, learnt for each model and size."""

from __future__ import annotations

import ctypes
import gc
import os
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from sdbatch.types import Render

_SAID = ("out of memory", "can't allocate memory", "not enough memory")
"""What torch's allocators say, of CPUs and of Apple's GPUs too, in plain RuntimeErrors."""
_LIBRARY = ctypes.CDLL(None) if os.name == "posix" else None
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's `mallopt`, as `malloc.h` numbers them."""
_HEAP_BYTES = 32 * 1024**2
"""What glibc takes from its heap at most when it chooses by itself; what is larger is mapped, and handed back early."""


@dataclass(frozen=True)
class Rung:
    """One way to make do.

    Attributes:
        size: the batch shape.
        offload: whether components wait in the host's memory. Bits stay the same.
        tiled: whether the VAE works in slices and tiles.
    """

    size: int
    offload: bool = False
    tiled: bool = False


class Ladder:
    """Which rung each kind of batch stands on: offload, then smaller batches, then VAE slices and tiles.

    Args:
        render: `oom: fail` leaves the one rung that changes no bits.
        offload: whether there is a host's memory beside the device's.
    """

    def __init__(self, render: Render, offload: bool) -> None:
        self._degrade, self._offload = render.oom == "degrade", offload
        self._tiles = not (render.vae_tiling or render.vram == "low")
        self._learnt: dict[Hashable, int] = {}

    def rungs(self, size: int) -> list[Rung]:
        """From the batch shape that was asked for down to the last resort."""
        found = [Rung(size)]
        if self._offload:
            found.append(Rung(size, offload=True))
        if self._degrade:
            smaller = size // 2
            while smaller:
                found.append(Rung(smaller, offload=self._offload))
                smaller //= 2
            if self._tiles:
                found.append(Rung(1, offload=self._offload, tiled=True))
        return found

    def at(self, key: Hashable, size: int) -> Rung:
        """Where batches of this kind stand."""
        return self.rungs(size)[self._learnt.get(key, 0)]

    def down(self, key: Hashable, size: int) -> bool:
        """Take the next rung; False where there is none left."""
        at = self._learnt.get(key, 0) + 1
        if at >= len(self.rungs(size)):
            return False
        self._learnt[key] = at
        return True


def ran_out(error: BaseException) -> bool:
    """Whether this is a lack of memory, of the device or of the host."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error).lower() for text in _SAID)


def free(device: str) -> None:
    """Give back what a failed batch held."""
    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()
    elif device == "mps":
        torch.mps.empty_cache()


def keep() -> None:
    """Let the heap of this process keep what is freed, until `trim`, where the C library is glibc.

    By itself it hands pages back while a batch is rendered, in the middle of a network, and takes them again at the
    next layer: of a run of 64 demo rows that was a million pages, and two seconds of fifteen.
    """
    set_parameter = getattr(_LIBRARY, "mallopt", None)
    if set_parameter is not None:
        set_parameter(_MMAP_THRESHOLD, _HEAP_BYTES)
        set_parameter(_TRIM_THRESHOLD, 2**31 - 1)


def trim() -> None:
    """Hand free pages of the heap back to the system, where the C library is glibc: it keeps them by itself.

    What is kept of texts lies among what batches needed for a moment, so that the heap's end is seldom free.
    """
    give_back = getattr(_LIBRARY, "malloc_trim", None)
    if give_back is not None:
        give_back(0)


@contextmanager
def tiled(pipe: Any, wanted: bool) -> Iterator[None]:
    """The VAE in slices and tiles for as long as this is open."""
    vae = getattr(pipe, "vae", None)
    if not wanted or vae is None:
        yield
        return
    before = vae.use_slicing, vae.use_tiling
    vae.enable_slicing()
    vae.enable_tiling()
    try:
        yield
    finally:
        vae.use_slicing, vae.use_tiling = before


@contextmanager
def precise(pipe: Any, wanted: bool) -> Iterator[None]:
    """The VAE in float32, between latents and pixels of the pipeline's own dtype, for as long as this is open."""
    vae = getattr(pipe, "vae", None)
    if not wanted or vae is None or vae.dtype == torch.float32:
        yield
        return
    dtype, encode, decode = vae.dtype, vae.encode, vae.decode

    def exactly(call: Any) -> Any:
        def called(given: torch.Tensor, *rest: Any, **named: Any) -> Any:
            vae.to(torch.float32)
            try:
                return call(given.to(torch.float32), *rest, **named)
            finally:
                vae.to(dtype)

        return called

    vae.encode, vae.decode = exactly(encode), exactly(decode)
    try:
        yield
    finally:
        vae.encode, vae.decode = encode, decode
