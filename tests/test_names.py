"""What a spec names by paths, and by names alone, is found again from the run directory's own job.yaml."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sdbatch.errors import SpecError
from sdbatch.sources.names import Sources
from sdbatch.spec import dump, load
from sdbatch.spec.grid import Rows
from sdbatch.types import Render

RENDER = Render(4, 1, "float32", "cpu", "sdpa", False, False, "auto", "degrade")
Write = Callable[[str, str], Path]


def lora(path: Path) -> None:
    """The smallest LoRA that is one by its header."""
    ends = {"lora_down": [1, 96], "lora_up": [96, 1]}
    stem = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
    header: dict[str, object] = {}
    at = 0
    for end, shape in ends.items():
        header[f"{stem}.{end}.weight"] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + 384]}
        at += 384
    text = json.dumps(header).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(at))


def ids(path: Path) -> list[str]:
    job = load.job(path)
    made = Rows(job, None, Sources(job.base, None, job.fine_tunes))
    return [row.id for row in made.take(range(len(made)))]


def again(path: Path, directory: Path) -> Path:
    """The job as a run writes it into its directory."""
    directory.mkdir(parents=True)
    (directory / "job.yaml").write_text(dump.resolved(load.job(path), RENDER, directory), "utf-8")
    return directory / "job.yaml"


def test_fine_tunes_and_wildcards_by_name(write: Write, tmp_path: Path) -> None:
    lora(tmp_path / "loras" / "sketch.safetensors")
    write("jobs/wildcards/shape.txt", "star\nmoon\n")
    path = write(
        "jobs/a.yaml",
        "prompt: 'a {red|blue} __shape__ <lora:sketch:0.5>'\ngrid: {loras: [[], [other]], seed: [1, 2]}\n",
    )
    lora(tmp_path / "jobs" / "loras" / "other.safetensors")
    written = again(path, tmp_path / "elsewhere" / "runs" / "a")
    assert ids(written) == ids(path)
    assert ids(again(written, tmp_path / "elsewhere" / "b")) == ids(path)


def test_a_folder_of_fine_tunes_that_is_not_there(write: Write) -> None:
    with pytest.raises(SpecError, match="fine_tunes: none: no such folder"):
        load.job(write("a.yaml", "fine_tunes: none\n"))


def test_the_model_of_a_preprocessor(write: Write, tmp_path: Path) -> None:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "depth").symlink_to(Path(load.__file__).parents[1] / "demo" / "weights" / "demo")
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(tmp_path / "jobs" / "c.png")
    path = write(
        "jobs/a.yaml",
        "mode: controlnet\ncontrolnet: demo-controlnet\ncontrol_image: c.png\n"
        "grid: {control_preprocessor: [{depth: depth}, canny, depth]}\n",
    )
    assert ids(again(path, tmp_path / "elsewhere" / "a")) == ids(path)
    assert len(set(ids(path))) == 3
