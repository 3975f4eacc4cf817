"""What this machine renders on: the device, its kind, and the versions that decide pixels."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import psutil

from sdbatch.errors import UsageError
from sdbatch.types import Render

_DEFAULTS: dict[str, Any] = {
    "batch_size": "auto", "threads": "auto", "dtype": "auto", "device": "auto", "attention": "auto",
    "compile": False, "vae_tiling": False, "vram": "auto", "oom": "degrade",
}  # fmt: skip
PACKAGES = ("torch", "diffusers", "transformers")


@dataclass(frozen=True, slots=True)
class Device:
    """A device.

    Attributes:
        kind: name of the hardware kind, such as `cpu x86_64 AVX512` or `cuda NVIDIA H100`.
        memory: GiB, whole; 0 for CPUs.
        count: how many there are of it.
    """

    name: str
    kind: str
    memory: int
    count: int


def settings(given: dict[str, Any]) -> Render:
    """`render:` with every `auto` decided, from the kind of machine alone.

    `batch_size: auto` stays 0: `plan.batch_size` decides it by a table, row by row.

    Raises:
        UsageError: the machine has no such device.
    """
    values = {**_DEFAULTS, **given}
    device = values["device"] if values["device"] != "auto" else ("cuda" if _has_nvidia() else _plain_device())
    threads = values["threads"]
    return Render(
        batch_size=0 if values["batch_size"] == "auto" else int(values["batch_size"]),
        threads=(psutil.cpu_count(logical=False) or 1) if threads == "auto" else int(threads),
        dtype=("float16" if device == "cuda" else "float32") if values["dtype"] == "auto" else values["dtype"],
        device=device,
        attention="sdpa" if values["attention"] == "auto" else values["attention"],
        compile=bool(values["compile"]),
        vae_tiling=bool(values["vae_tiling"]),
        vram=values["vram"],
        oom=values["oom"],
    )


def describe(name: str) -> Device:
    """Look at a device; imports torch only for one that is not the CPU.

    Raises:
        UsageError: the machine has no such device.
    """
    if name == "cpu":
        return Device("cpu", f"cpu {platform.machine()} {_cpu_level()}", 0, 1)
    import torch

    if name == "cuda":
        if not torch.cuda.is_available():
            raise UsageError("device cuda: torch sees no CUDA device here; use `render.device: cpu`")
        about = torch.cuda.get_device_properties(0)
        return Device("cuda", f"cuda {about.name}", round(about.total_memory / 2**30), torch.cuda.device_count())
    if name == "mps" and torch.backends.mps.is_available():
        return Device("mps", f"mps {platform.machine()}", 0, 1)
    raise UsageError(f"device {name}: not on this machine")


def memory_format(name: str, *, compiled: bool) -> str:
    """How the UNet's weights lie in a device's memory.

    CUDA's convolutions are made for channels last. Uncompiled, that is lost again in between: group norms turn what
    they are given, and a step takes 9 % longer (docs/benchmarks.md).
    """
    return "channels_last" if name == "cuda" and compiled else "contiguous"


def versions() -> dict[str, str]:
    """Versions of what decides pixels; read from the packages' metadata, importing none of them."""
    return {name: metadata.version(name).split("+")[0] for name in PACKAGES}


def _has_nvidia() -> bool:
    """Whether CUDA may be used, at no cost where there is no NVIDIA driver."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1") or not os.path.exists("/proc/driver/nvidia/version"):
        return False
    import torch

    return bool(torch.cuda.is_available())


def _plain_device() -> str:
    return "mps" if (platform.system(), platform.machine()) == ("Darwin", "arm64") else "cpu"


def _cpu_level() -> str:
    """The vector instructions that torch's kernels are chosen by."""
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
            flags = next((set(line.split()) for line in file if line.startswith("flags")), set())
    except OSError:
        return "unknown"
    if {"avx512f", "avx512dq", "avx512bw", "avx512vl"} <= flags:
        return "AVX512"
    return "AVX2" if "avx2" in flags else "baseline"
