"""The batch shape of a row."""

from __future__ import annotations

import math

from sdbatch.types import Render


def batch_size(render: Render, memory: int, width: int, height: int) -> int:
    """The batch shape of a row. A table, so that it never follows from load, neighbours or job length.

    Args:
        memory: the device's total memory in GiB (CPUs: not looked at).
    """
    if render.batch_size:
        return render.batch_size
    area = width * height / 512**2
    if render.device == "cpu":
        return 8 if area <= 1 / 16 else 1  # measured: docs/benchmarks.md
    rows = next((rows for least, rows in ((70, 16), (38, 8), (20, 4), (10, 2)) if memory >= least), 1)
    return 1 << math.floor(math.log2(max(1.0, rows / area)))
