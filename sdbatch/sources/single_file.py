"""Single .safetensors files in the original layout: what one is, told from its header without reading weights."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from sdbatch.errors import ModelError
from sdbatch.sources import headers, layouts
from sdbatch.sources.headers import Header
from sdbatch.sources.vocabulary import CONFIGS

UNET = "model.diffusion_model."
VAE = "first_stage_model."
_FIRST = UNET + "input_blocks.0.0.weight"
_ATTENTION = ".attn2.to_k.weight"
_FAMILIES = {768: "sd1", 1024: "sd2", 2048: "sdxl"}  # by the width of the text embeddings
_SIZES = {"sd1": 512, "sd2": 512, "sdxl": 1024}
_NATIVE = {"sd1": ("sd", "sd-inpaint"), "sd2": ("sd", "sd-inpaint"), "sdxl": ("sdxl", "sdxl-inpaint")}
_OTHERS = (
    ("lora_unet_", "a LoRA"),
    ("lora_te", "a LoRA"),
    ("lora_A.weight", "a LoRA"),
    ("lora_down.weight", "a LoRA"),
    ("emb_params", "a textual inversion embedding"),
    ("control_model.", "a ControlNet in the original layout; use its diffusers folder"),
    ("controlnet_cond_embedding.", "a ControlNet without its folder; use the folder with its config.json"),
    ("double_blocks.", "a Flux model"),
    ("joint_blocks.", "a Stable Diffusion 3 model"),
    ("down_blocks.", "one part of a diffusers folder; use the folder"),
    ("text_model.", "one part of a diffusers folder; use the folder"),
)


@dataclass(frozen=True, slots=True)
class SingleFile:
    """What a file in the original layout is.

    Attributes:
        kind: such as `sd`, `sdxl-inpaint`, `vae` or `aesthetic`.
        config: the folder of its configurations: `NAME.config` beside the file, else one that is shipped.
        files: name → file, of that folder's where it lies beside: they decide pixels too.
        channels: of the UNet's input; 0 without a UNet.
        size: width and height in pixels; (0, 0) for a VAE or a predictor of looks.
        prediction: `epsilon` or `v_prediction` where the file says so and a shipped folder is used, else None.
    """

    kind: str
    config: Path
    files: Mapping[str, Path]
    channels: int
    size: tuple[int, int]
    prediction: str | None


def header(name: str, path: Path) -> Header:
    """Read a file's header.

    Raises:
        ModelError: it is no whole safetensors file, or its header contradicts itself.
    """
    try:
        return headers.read(path)
    except OSError as error:
        raise ModelError(f"model {name!r}: cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise ModelError(f"model {name!r}: {path}: {error}") from error


def read(name: str, path: Path) -> SingleFile:
    """Tell what a file is.

    Raises:
        ModelError: it is broken, no checkpoint, or one that needs a folder of configurations which is not there.
    """
    head = header(name, path)
    beside = path.with_name(path.stem + ".config")
    own = beside if beside.is_dir() else None
    if linear_layers(head):
        return SingleFile("aesthetic", path.parent, {}, 0, (0, 0), None)
    if len(head.shapes.get(_FIRST, ())) != 4:
        return _vae(name, path, head, own)
    family, kind = detect(head)
    if own is None and kind not in _NATIVE.get(family or "", ()):
        raise ModelError(
            f"model {name!r}: {path} is of kind {kind!r} and of a shape whose configuration is not shipped; "
            f"use its diffusers folder, or put one without weights at {beside}"
        )
    _check_parts(name, path, head)
    prediction = _prediction(head)
    if own is not None:
        found = layouts.read(name, own)
        return SingleFile(kind, own, found.files, head.shapes[_FIRST][1], found.size, None)
    size = _size(head, 768 if (family, prediction) == ("sd2", "v_prediction") else _SIZES[str(family)])
    return SingleFile(kind, CONFIGS / str(family), {}, head.shapes[_FIRST][1], size, prediction)


def linear_layers(head: Header) -> list[str]:
    """The names of linear layers that follow each other, from a vector to one number; none where it is something else.

    That is how predictors of looks are made that go with CLIP: one layer, or LAION's five with nothing in between.
    """
    numbered = (re.fullmatch(r"((?:\w+\.)*?(\d+)\.)?weight", key) for key in head.shapes)
    found = sorted((int(one[2] or 0), one[1] or "") for one in numbered if one is not None)
    names = [prefix for _, prefix in found]
    if not names or {f"{name}{part}" for name in names for part in ("weight", "bias")} != head.shapes.keys():
        return []
    shapes = [tuple(head.shapes[f"{name}weight"]) for name in names]
    widths = [tuple(head.shapes[f"{name}bias"]) for name in names]
    flat = all(len(shape) == 2 and width == shape[:1] for shape, width in zip(shapes, widths, strict=True))
    if not flat or shapes[-1][0] != 1 or any(a[0] != b[1] for a, b in pairwise(shapes)):
        return []
    return names


def detect(head: Header) -> tuple[str | None, str]:
    """(family, kind) of a checkpoint with a UNet: `sd1`, `sd2`, `sdxl` or None, and its kind.

    The family follows from the width of the text embeddings that the UNet attends to, the kind from
    the channels of its first convolution.
    """
    channels = head.shapes[_FIRST][1]
    width = next((shape[-1] for key, shape in head.shapes.items() if shape and key.endswith(_ATTENTION)), 0)
    if any(key.startswith("conditioner.embedders.") for key in head.shapes):
        refiner = not any(key.startswith("conditioner.embedders.1.") for key in head.shapes)
        kind = layouts.pipeline_kind("StableDiffusionXLPipeline", channels, refiner=refiner)
        return (None if refiner else "sdxl"), kind
    return _FAMILIES.get(width), layouts.pipeline_kind("StableDiffusionPipeline", channels)


def _vae(name: str, path: Path, head: Header, own: Path | None) -> SingleFile:
    """A lone VAE, bare or under its prefix in a whole checkpoint."""
    keys = {key.removeprefix(VAE) for key in head.shapes}
    if not {"decoder.conv_in.weight", "encoder.conv_in.weight"} <= keys:
        raise ModelError(f"model {name!r}: {path} is {_other(head)}")
    if own is not None:
        lone = own / "vae" if (own / "vae").is_dir() else own
        return SingleFile("vae", lone, {"config.json": lone / "config.json"}, 0, (0, 0), None)
    xl = "xl" in head.metadata.get("modelspec.architecture", "").lower()
    return SingleFile("vae", CONFIGS / ("sdxl" if xl else "sd1") / "vae", {}, 0, (0, 0), None)


def _other(head: Header) -> str:
    """What a file is that holds no checkpoint."""
    for mark, said in _OTHERS:
        if any(mark in key for key in head.shapes):
            return f"{said}, not a checkpoint" if ";" not in said else said
    return "no checkpoint of Stable Diffusion in the original layout"


def _check_parts(name: str, path: Path, head: Header) -> None:
    wanted = {"VAE": (VAE,), "text encoder": ("cond_stage_model.", "conditioner.")}
    for part, prefixes in wanted.items():
        if not any(key.startswith(prefixes) for key in head.shapes):
            raise ModelError(f"model {name!r}: {path} holds no {part}; a whole checkpoint is needed")


def _prediction(head: Header) -> str | None:
    """What the file says of its own prediction: the modelspec standard's keys, or the empty tensor that some add."""
    said = head.metadata.get("modelspec.prediction_type", "").lower()
    if said:
        return "v_prediction" if said.startswith("v") else "epsilon"
    named = head.metadata.get("modelspec.architecture", "").lower()
    return "v_prediction" if "v_pred" in head.shapes or re.search(r"-v2-768-v\b", named) else None


def _size(head: Header, size: int) -> tuple[int, int]:
    said = re.fullmatch(r"(\d{2,4})x(\d{2,4})", head.metadata.get("modelspec.resolution", ""))
    return (int(said[1]), int(said[2])) if said else (size, size)
