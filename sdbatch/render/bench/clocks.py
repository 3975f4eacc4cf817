"""Clocks and meters: time of each stage, most memory in use, and what the device's matrix units can do."""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any, Self

import torch

SIDES = {"cuda": 8192, "mps": 4096, "cpu": 2048}
"""Of the square matrices that are multiplied, by device: large enough that nothing but the multiplication counts."""
LEAST_RUNS, SECONDS = 3, 0.5
SMALLER = 8
"""By how much the sides are smaller of what is multiplied first, to see how long that takes."""
_STATUS, _CLEAR = "/proc/self/status", "/proc/self/clear_refs"


def now(device: str) -> float:
    """Seconds, once the device has done what it was given."""
    if device == "cuda":
        torch.cuda.synchronize()
    elif device == "mps":
        torch.mps.synchronize()
    return time.perf_counter()


class Watch:
    """Times the stages of each batch that a pipeline draws while this is open, and keeps what the VAE gave.

    `denoise` is from the first noise to the VAE, so that it holds sampler and guidance beside the network.

    Args:
        pipe: of Stable Diffusion or SDXL.
        keep: whether `decoded` is kept.

    Attributes:
        text, denoise, decode: seconds, of all since `begin`.
        decoded: (batch, 3, height, width) in -1 to 1, of the last batch.
    """

    def __init__(self, pipe: Any, device: str, *, keep: bool = False) -> None:
        self._pipe, self._device, self._keep = pipe, device, keep
        self._open = ExitStack()
        self.decoded: torch.Tensor | None = None
        self.begin()

    def begin(self) -> None:
        """Start from nothing."""
        self.text = self.denoise = self.decode = 0.0
        self._began = self._decoded_at = self._mark = now(self._device)

    def end(self) -> dict[str, float]:
        """Milliseconds of each stage since `begin`, `to_host` from the VAE's end until now, and of the whole."""
        ended = now(self._device)
        stages = {"text": self.text, "denoise": self.denoise, "decode": self.decode}
        stages |= {"to_host": ended - self._decoded_at, "whole": ended - self._began}
        return {name: 1000 * seconds for name, seconds in stages.items()}

    def __enter__(self) -> Self:
        pipe = self._pipe
        for encoder in (pipe.text_encoder, getattr(pipe, "text_encoder_2", None)):
            if encoder is not None:
                for hook in (
                    encoder.register_forward_pre_hook(self._text_begins),
                    encoder.register_forward_hook(self._text_ends),
                ):
                    self._open.callback(hook.remove)
        # Not the network itself: hooks inside what is compiled would be compiled with it.
        for owner, name, around in (
            (pipe, "prepare_latents", self._noise),
            (pipe.vae, "decode", self._pixels),
        ):
            self._open.callback(owner.__dict__.pop, name, None)
            setattr(owner, name, around(getattr(owner, name)))
        return self

    def __exit__(self, *unused: object) -> None:
        self._open.close()
        self.decoded = None

    def _text_begins(self, *unused: Any) -> None:
        self._mark = now(self._device)

    def _text_ends(self, *unused: Any) -> None:
        self.text += now(self._device) - self._mark

    def _noise(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def prepared(*given: Any, **named: Any) -> Any:
            found = call(*given, **named)
            self._mark = now(self._device)
            return found

        return prepared

    def _pixels(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def decoded(*given: Any, **named: Any) -> Any:
            began = now(self._device)
            self.denoise += began - self._mark
            found = call(*given, **named)
            self._decoded_at = now(self._device)
            self.decode += self._decoded_at - began
            if self._keep:
                self.decoded = found[0]
            return found

        return decoded


def forget_peak(device: str) -> None:
    """Let the most memory in use begin anew; on a CPU only where Linux allows it."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return
    with suppress(OSError), open(_CLEAR, "w", encoding="ascii") as file:
        file.write("5")


def peak(device: str) -> int:
    """Most bytes in use since `forget_peak`: what torch took of a GPU, else what this process had of the memory."""
    if device == "cuda":
        return int(torch.cuda.max_memory_allocated())
    with suppress(OSError), open(_STATUS, encoding="ascii", errors="replace") as file:
        for line in file:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) << 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def matrix_peak(device: str, dtype: torch.dtype) -> float:
    """Floating point operations a second of a product of two large square matrices: the best of some runs.

    2 n³ operations a product (Golub and Van Loan, "Matrix Computations", section 1.1).
    """
    side, taken = SIDES[device], _products(device, dtype, SIDES[device] // SMALLER, 1)
    if taken[0] * SMALLER**3 < SECONDS:
        taken = _products(device, dtype, side, LEAST_RUNS)
    else:  # a CPU without bfloat16 takes fifty times as long for it, and its size makes no difference
        side //= SMALLER
    return 2 * side**3 / min(taken)


def _products(device: str, dtype: torch.dtype, side: int, least: int) -> list[float]:
    """Seconds of each of at least so many products, after one that is not counted."""
    left, right = (torch.randn((side, side), dtype=torch.float32).to(device, dtype) for _ in range(2))
    made = torch.empty_like(left)
    taken: list[float] = []
    torch.mm(left, right, out=made)
    while len(taken) < least or (least > 1 and sum(taken) < SECONDS and len(taken) < 100):
        began = now(device)
        torch.mm(left, right, out=made)
        taken.append(now(device) - began)
    return taken


def medians(measured: list[dict[str, float]]) -> dict[str, float]:
    """The median of each value over rounds."""
    return {name: statistics.median(one[name] for one in measured) for name in measured[0]}
