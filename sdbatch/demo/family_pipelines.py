"""The family's folders as plain diffusers pipelines, and one way to call them all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from PIL import Image

BATCH = 20
CONTROLNET = "demo-controlnet"

Pixels = NDArray[np.uint8]


def load(folder: Path) -> Any:
    """A pipeline in float32 on the CPU, the parts that it shares joined in.

    Args:
        folder: of the family, beside the folders that it shares parts with; a ControlNet's gives the
            pipeline of it and of `demo` beside it.
    """
    if folder.name == CONTROLNET:
        net: Any = diffusers.ControlNetModel
        given = components(folder.parent / "demo") | {"controlnet": net.from_pretrained(str(folder))}
        kind: Any = diffusers.StableDiffusionControlNetPipeline
    else:
        given = components(folder)
        kind = getattr(diffusers, _index(folder)["_class_name"])
    given |= {} if "feature_extractor" in given else {"feature_extractor": None}
    if "requires_safety_checker" in _index(folder) or folder.name == CONTROLNET:
        given |= {"safety_checker": None, "requires_safety_checker": False}
    scale = given["vae"].config.scaling_factor
    pipe = kind(**given)
    # StableDiffusionUpscalePipeline puts the published upscaler's factor in the place of the VAE's own.
    pipe.vae.register_to_config(scaling_factor=scale)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def components(folder: Path) -> dict[str, Any]:
    """The components that a folder's index names, from that folder or the one that its shared.json names."""
    path = folder / "shared.json"
    shared: dict[str, str] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    named = {part: what for part, what in _index(folder).items() if isinstance(what, list) and what[0]}
    return {
        part: _load(library, kind, (folder.parent / shared[part] if part in shared else folder) / part)
        for part, (library, kind) in named.items()
    }


def paint(pipe: Any, prompts: list[str], seeds: list[int], **inputs: Any) -> Pixels:
    """One picture a prompt, each from its own seed: (n, h, w, 3) uint8 sRGB.

    Args:
        inputs: of the pipeline's call; lists of pictures, (h, w, 3) or (h, w) uint8, go along with the prompts.
    """
    parts = []
    for start in range(0, len(prompts), BATCH):
        here = slice(start, start + BATCH)
        given = {name: _images(what[here]) if isinstance(what, list) else what for name, what in inputs.items()}
        generators = [torch.Generator().manual_seed(seed) for seed in seeds[here]]
        made = pipe(prompts[here], generator=generators, output_type="np", **given).images
        parts.append(np.rint(made * 255).astype(np.uint8))
    return np.concatenate(parts)


@torch.inference_mode()
def depths(pipe: Any, pictures: Pixels) -> NDArray[np.float32]:
    """Nearness by a depth pipeline's own estimator: (n, 64, 64, 3) to (n, 64, 64)."""
    parts = []
    for images in _batches(pictures):
        seen = pipe.feature_extractor(images=images, return_tensors="pt").pixel_values
        found = pipe.depth_estimator(seen).predicted_depth[:, None]
        size = pictures.shape[1:3]
        parts.append(torch.nn.functional.interpolate(found, size, mode="bilinear", antialias=True)[:, 0].numpy())
    return np.concatenate(parts)


def _batches(pictures: Pixels) -> Iterator[list[Image.Image]]:
    for start in range(0, len(pictures), BATCH):
        yield _images(list(pictures[start : start + BATCH]))


def _images(pictures: list[Pixels]) -> list[Image.Image]:
    return [Image.fromarray(picture) for picture in pictures]


def _index(folder: Path) -> dict[str, Any]:
    path = folder / "model_index.json"
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}


def _load(library: str, kind: str, folder: Path) -> Any:
    # transformers' own DPTImageProcessor needs torchvision.
    kind = {"DPTImageProcessor": "DPTImageProcessorPil"}.get(kind, kind)
    found: Any = getattr({"diffusers": diffusers, "transformers": transformers}[library], kind)
    loaded = found.from_pretrained(str(folder), local_files_only=True)
    return loaded.float().eval() if isinstance(loaded, torch.nn.Module) else loaded
