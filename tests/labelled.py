"""Small data sets of the shapes that are read."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def picture(seed: int, size: tuple[int, int] = (64, 64)) -> bytes:
    """A PNG with a shape of one colour on white; which one follows from the seed."""
    draw = np.random.default_rng(seed)
    pixels = np.full((size[1], size[0], 3), 255, np.uint8)
    x, y = draw.integers(4, size[0] // 3), draw.integers(4, size[1] // 3)
    pixels[y : y + size[1] // 2, x : x + size[0] // 2] = draw.integers(0, 200, 3)
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "png")
    return data.getvalue()


def classes(root: Path, counts: Mapping[str, int], size: tuple[int, int] = (64, 64)) -> Path:
    """Class directories: `counts` is how many pictures of each `split/label`, or `label`."""
    seed = 0
    for name, count in counts.items():
        for number in range(count):
            path = root / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(picture(seed, size))
            seed += 1
    return root


def tar(path: Path, samples: Sequence[Mapping[str, Any]]) -> Path:
    """A webdataset's shard: each sample's `__key__` and its members."""
    with tarfile.open(path, "w") as file:
        for sample in samples:
            for kind, value in sample.items():
                if kind == "__key__":
                    continue
                data = value if isinstance(value, bytes) else json.dumps(value).encode()
                info = tarfile.TarInfo(f"{sample['__key__']}.{kind}")
                info.size = len(data)
                file.addfile(info, io.BytesIO(data))
    return path
