"""How a picture is made, in a few letters: everything outside a row's id that changes bits."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from sdbatch.render import device
from sdbatch.types import Render


def of(
    render: Render,
    where: device.Device,
    versions: Mapping[str, str],
    size: int,
    model_hash: str,
    degraded: Mapping[str, Any] | None = None,
) -> str:
    """How a picture is made: blake2b-80 over everything outside the id that changes bits.

    Args:
        size: the batch shape.
        degraded: what was done otherwise than `render` says; its batch size is `size`.
    """
    other = {name: value for name, value in (degraded or {}).items() if name != "batch_size"}
    layout = device.memory_format(where.name, compiled=render.compile)
    parts = {
        "device": where.kind,
        "versions": versions,
        "model": model_hash,
        "dtype": render.dtype,
        "batch_size": size,
        "threads": render.threads if where.name == "cpu" else None,
        "attention": render.attention,
        "compile": render.compile,
        "vae_tiling": render.vae_tiling,
        **({"memory_format": layout} if layout != "contiguous" else {}),
        **({"vram": render.vram} if render.vram == "low" else {}),
        **({"degraded": other} if other else {}),
    }
    return hashlib.blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=10).hexdigest()
