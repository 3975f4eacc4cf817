"""Run directories verified: a small job, and the manifest read and altered."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from sdbatch import api
from sdbatch.api.again import Verified
from sdbatch.store.directory import RunDirectory
from sdbatch.store.parts import part_bytes

JOB: dict[str, Any] = {
    "name": "small",
    "prompt": "a {color} star",
    "steps": 1,
    "output": {"filename": "{color}/{seed}"},
    "grid": {"color": ["red", "blue"], "seed": [1, 2, 3]},
    "render": {"batch_size": 2},
}


class Quiet:
    """A watcher that counts."""

    def __init__(self) -> None:
        self.left = 0

    def start(self, text: str, left: int) -> None:
        self.left = left

    def rows(self, count: int) -> None:
        self.left -= count


def verify(run: Path, **options: Any) -> api.VerifyReport:
    watcher = Quiet()
    report = api.verify(run, watcher, **options)
    assert report.stopped or watcher.left == 0
    return report


def by_path(report: api.VerifyReport) -> dict[str, Verified]:
    return {one.path.removeprefix("images/"): one for one in report.pictures}


def alter(run: Path, changes: Mapping[str, Mapping[str, Any]]) -> None:
    """Write the manifest with other values in the lines of some pictures, by path."""
    table = RunDirectory(run).manifest().read()
    lines = [{**line, **changes.get(line["path"].removeprefix("images/"), {})} for line in table.to_pylist()]
    (first, *others) = (run / "manifest").iterdir()
    first.write_bytes(part_bytes(type(table).from_pylist(lines, table.schema)))
    for other in others:
        other.unlink()


def line(run: Path, path: str) -> dict[str, Any]:
    (found,) = (one for one in RunDirectory(run).manifest().read().to_pylist() if one["path"] == f"images/{path}")
    return dict(found)


def soft_lora(path: Path, seed: int) -> None:
    """A LoRA of the demo model, drawn from a seed."""
    layer = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
    draw = torch.Generator().manual_seed(seed)
    halves = {"lora_A": torch.randn(4, 96, generator=draw), "lora_B": torch.randn(96, 4, generator=draw)}
    path.parent.mkdir(exist_ok=True)
    save_file({f"{layer}.{name}.weight": half * 0.3 for name, half in halves.items()}, path)
