"""A hub repository of one small model, as the tests of the hub share it, and how they look at what came of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sdbatch.sources.hashes import HashCache
from sdbatch.sources.models import Model, ModelSource

NAME = "owner/tiny"
INDEX = {
    "_class_name": "StableDiffusionPipeline",
    "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
    "scheduler": ["diffusers", "DDIMScheduler"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}
WEIGHTS = "diffusion_pytorch_model.safetensors"
WANTED: dict[str, bytes] = {
    "model_index.json": json.dumps(INDEX).encode(),
    "scheduler/scheduler_config.json": b"{}",
    "unet/config.json": b'{"sample_size": 16, "in_channels": 4}',
    f"unet/{WEIGHTS}": bytes(range(256)) * 4000,
    "vae/config.json": b'{"block_out_channels": [1, 1, 1]}',
    f"vae/{WEIGHTS}": b"vae",
}
HALF = "unet/diffusion_pytorch_model.fp16.safetensors"
LEFT: dict[str, bytes] = {
    "README.md": b"# Hello",
    "v1-5-pruned.safetensors": b"the whole once more",
    "v1-5-pruned.ckpt": b"pickle",
    "unet/diffusion_pytorch_model.bin": b"pickle",
    "unet/diffusion_pytorch_model.bin.index.json": b"{}",
    HALF: b"half",
    "unet/model.py": b"code",
    "unet/deeper/config.json": b"{}",
    "flax/model.msgpack": b"flax",
    "other/config.json": b"{}",
}


def lone(folder: Path, class_name: str) -> Path:
    """A folder of one component, as a VAE or a ControlNet comes."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"_class_name": class_name}), encoding="utf-8")
    (folder / WEIGHTS).write_bytes(b"weights")
    return folder


def resolve(tmp_path: Path, revision: str | None = None, **options: Any) -> Model:
    """The model as found from an empty folder, with a cache of hashes of its own."""
    return ModelSource(tmp_path, cache=HashCache(tmp_path / "hashes"), **options).resolve(NAME, revision)


def files(folder: Path) -> dict[str, bytes]:
    """All files below a folder."""
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
