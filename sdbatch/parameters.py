"""The parameters that say what a row is: their types, defaults and bounds, in one table.

The spec, the JSON Schema, the manifest's columns and the `id` all read this table. A parameter of
kind `json` is any JSON value in Python and JSON text in a manifest.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["text", "int", "float", "json"]

MODES = ("txt2img", "img2img", "inpaint", "outpaint", "depth2img", "controlnet", "upscale", "redact", "score")
SCHEDULERS = (
    "ddim", "ddpm", "deis", "dpm2", "dpm2_a", "dpmpp_2m", "dpmpp_2m_sde", "dpmpp_2s", "dpmpp_3m_sde", "dpmpp_sde",
    "euler", "euler_a", "heun", "lcm", "lms", "pndm", "unipc",
)  # fmt: skip
WITH_SIGMAS = frozenset(
    "deis dpm2 dpm2_a dpmpp_2m dpmpp_2m_sde dpmpp_2s dpmpp_3m_sde dpmpp_sde euler heun lms unipc".split()
)
"""Schedulers that take `sigmas`."""
STEPS_MAX = {"lcm": 50}
"""Most steps of schedulers that have such an end: LCM was taught to jump between fifty places."""
SEED_MAX = 2**32 - 1
SAMPLER_NAMES = {
    "ddim": "DDIM",
    "ddpm": "DDPM",
    "deis": "DEIS",
    "dpm2": "DPM2",
    "dpm2_a": "DPM2 a",
    "dpmpp_2m": "DPM++ 2M",
    "dpmpp_2m_sde": "DPM++ 2M SDE",
    "dpmpp_2s": "DPM++ 2S",
    "dpmpp_3m_sde": "DPM++ 3M SDE",
    "dpmpp_sde": "DPM++ SDE",
    "euler": "Euler",
    "euler_a": "Euler a",
    "heun": "Heun",
    "lcm": "LCM",
    "lms": "LMS",
    "pndm": "PLMS",
    "unipc": "UniPC",
}
"""How AUTOMATIC1111 spells each of SCHEDULERS."""
_SCHEDULERS_BY_NAME = {name.casefold(): scheduler for scheduler, name in SAMPLER_NAMES.items()}
SCHEDULE_TYPES = {"karras": "Karras", "exponential": "Exponential", "beta": "Beta"}
"""How AUTOMATIC1111 spells `sigmas`."""


@dataclass(frozen=True)
class Parameter:
    """One parameter.

    Attributes:
        default: its value where a row names none; None means "not used".
        low, high: inclusive bounds of a number.
        choices: allowed values of a text.
        multiple: an int must be a multiple of this.
        nullable: whether null is a value (it means the default).
    """

    name: str
    kind: Kind
    default: Any = None
    about: str = ""
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    multiple: int = 1
    nullable: bool = True


def _table(*parameters: Parameter) -> dict[str, Parameter]:
    return {parameter.name: parameter for parameter in parameters}


PARAMETERS: dict[str, Parameter] = _table(
    Parameter("model", "text", "demo", "`demo`, a diffusers folder, or a Hugging Face id"),
    Parameter("revision", "text", None, "a hub commit, tag or branch"),
    Parameter("vae", "text", None, "another VAE than the model's own"),
    Parameter("mode", "text", "txt2img", "how the picture is made", choices=MODES, nullable=False),
    Parameter("prompt", "text", "", "what to show; `{NAME}` is filled from the row", nullable=False),
    Parameter("negative_prompt", "text", "", "what to avoid", nullable=False),
    Parameter("prompt_syntax", "text", "a1111", "whether prompts have emphasis, variants and tags, or are plain text",
              choices=("a1111", "plain")),
    Parameter("seed", "int", 0, "the row's seed", low=0, high=SEED_MAX, nullable=False),
    Parameter("width", "int", None, "pixels; a multiple of 8; null is the model's own", low=8, high=16384, multiple=8),
    Parameter("height", "int", None, "pixels; a multiple of 8; null is the model's own", low=8, high=16384, multiple=8),
    Parameter("steps", "int", 20, "denoising steps", low=1, high=1000, nullable=False),
    Parameter("guidance_scale", "float", 4.0, "classifier-free guidance; 1 or less is none", low=0, high=100,
              nullable=False),
    Parameter("scheduler", "text", "ddim", "the sampler", choices=SCHEDULERS, nullable=False),
    Parameter("sigmas", "text", None, "noise levels", choices=("karras", "exponential", "beta")),
    Parameter("eta", "float", 0.0, "DDIM's eta: 0 is deterministic, 1 is DDPM", low=0, high=1, nullable=False),
    Parameter("clip_skip", "int", None, "text encoder layers left out at the end", low=0, high=32),
    Parameter("image", "text", None, "the input picture"),
    Parameter("mask", "json", None, "what to repaint: a picture (white), a box [x, y, w, h], alpha, or {color: ...}"),
    Parameter("masked_content", "text", "original", "what the model is shown of the masked part: it, or what is around",
              choices=("original", "fill")),
    Parameter("unmasked", "text", "original", "what is outside of the mask: as it was, or as the VAE gives it back",
              choices=("original", "encoded")),
    Parameter("redaction", "text", "fill", "how mode redact hides the masked part",
              choices=("fill", "blur", "pixelate")),
    Parameter("mask_feather", "int", 0, "pixels inside the mask over which old fades into new", low=0, high=1024,
              nullable=False),
    Parameter("padding_mask_crop", "int", None, "repaint only the mask's box and this many pixels around it, enlarged",
              low=0, high=4096),
    Parameter("strength", "float", 0.8, "how much of the input is remade", low=0, high=1, nullable=False),
    Parameter("fit", "text", "resize", "how an input is brought to size", choices=("resize", "crop", "pad", "native")),
    Parameter("outpaint", "json", None, "pixels to add: {left, right, top, bottom}"),
    Parameter("control_image", "json", None, "the ControlNet's input picture, or a list"),
    Parameter("controlnet", "json", None, "the ControlNet, or a list"),
    Parameter("control_scale", "json", None, "its weight, or a list"),
    Parameter("control_start", "json", None, "share of the steps at which it begins"),
    Parameter("control_end", "json", None, "share of the steps at which it ends"),
    Parameter("control_preprocessor", "json", None, "what is drawn from the control image"),
    Parameter("depth_image", "text", None, "a depth map in place of the estimator's"),
    Parameter("loras", "json", None, "LoRA fine-tunes: names, or {name, weight}"),
    Parameter("embeddings", "json", None, "textual inversion embeddings: names, or {name, token}"),
    Parameter("hypernetwork", "json", None, "a hypernetwork: {name, strength}"),
    Parameter("scale", "float", None, "upscaling factor", low=1, high=16),
    Parameter("noise_level", "int", None, "noise added before upscaling", low=0, high=1000),
    Parameter("tile", "int", None, "tile side in pixels", low=8, high=16384, multiple=8),
    Parameter("overlap", "int", None, "pixels of a tile, or of what outpaint adds, that blend a seam", low=0,
              high=8192),
    Parameter("clip_model", "text", None, "a CLIP model that scores how a picture fits its prompt"),
    Parameter("aesthetic_model", "text", None, "linear layers that score a picture's looks by CLIP's embedding"),
    Parameter("accelerate", "json", None, "lossy speed-ups: {deepcache: N}, {tome: r}, or both in one"),
)  # fmt: skip


def sampler(name: str) -> tuple[str | None, str | None]:
    """Scheduler and sigmas of a sampler by AUTOMATIC1111's name; before its 1.9 the end of a name told the sigmas."""
    bare, sigmas = name.casefold(), None
    for levels, told in SCHEDULE_TYPES.items():
        if bare.endswith(f" {told.casefold()}"):
            bare, sigmas = bare.removesuffix(f" {told.casefold()}"), levels
    return _SCHEDULERS_BY_NAME.get(bare), sigmas


def steps_problem(scheduler: str, steps: int) -> str | None:
    """Say why a scheduler cannot take so many steps; None where it can."""
    most = STEPS_MAX.get(scheduler)
    return f"{steps} is too many for scheduler {scheduler}; at most {most}" if most and steps > most else None


def check(parameter: Parameter, value: Any) -> str | None:
    """Say what is wrong with a value, and what is allowed; None where nothing is."""
    wrong = _problem(parameter, value)
    if wrong and parameter.name == "seed" and value in (-1, "random"):  # as other tools ask for it
        return f"{wrong}; seed: {{random: N}} draws N of them, the same ones each time"
    return wrong


def _problem(parameter: Parameter, value: Any) -> str | None:
    if value is None:
        return None if parameter.nullable or parameter.default is None else "null is not a value here"
    if parameter.kind == "json":
        return _check_json(value)
    if parameter.kind == "text":
        return _check_text(parameter, value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return f"{_show(value)} is not {'a whole number' if parameter.kind == 'int' else 'a number'}"
    if not math.isfinite(value):
        return f"{value} is not a finite number"
    if parameter.kind == "int" and value != int(value):
        return f"{value} is not a whole number"
    if (parameter.low is not None and value < parameter.low) or (parameter.high is not None and value > parameter.high):
        return f"{value} is outside {parameter.low:.10g} to {parameter.high:.10g}"
    if parameter.multiple > 1 and int(value) % parameter.multiple:
        return f"{value} is not a multiple of {parameter.multiple}"
    return None


def coerce(parameter: Parameter, value: Any) -> Any:
    """A checked value in the parameter's own type: 4 -> 4.0 for a float, 4.0 -> 4 for an int."""
    if value is None:
        return parameter.default
    if parameter.kind == "int":
        return int(value)
    return float(value) if parameter.kind == "float" else value


def _check_text(parameter: Parameter, value: Any) -> str | None:
    if not isinstance(value, str):
        return f"{_show(value)} is not a text"
    if parameter.choices and value not in parameter.choices:
        import difflib

        if parameter.name == "scheduler" and (told := _scheduler(value)):
            return f"{value!r} is not one of {', '.join(parameter.choices)}; did you mean {told}?"
        near = difflib.get_close_matches(value, parameter.choices, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        return f"{value!r} is not one of {', '.join(parameter.choices)}{hint}"
    return None


def _scheduler(value: str) -> str | None:
    """What a sampler of AUTOMATIC1111 is called here, however it is spelled."""
    found, sigmas = sampler(re.sub(r"[\s_-]+", " ", value).casefold().replace("dpmpp", "dpm++"))
    if found is None:
        return None
    return f"{found!r}" + (f" with sigmas: {sigmas}" if sigmas and found in WITH_SIGMAS else "")


def _check_json(value: Any) -> str | None:
    if isinstance(value, float) and not math.isfinite(value):
        return f"{value} is not a finite number"
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            return "every key must be a text"
        return next((problem for item in value.values() if (problem := _check_json(item))), None)
    if isinstance(value, list):
        return next((problem for item in value if (problem := _check_json(item))), None)
    if value is None or isinstance(value, (str, int, float, bool)):
        return None
    return f"{_show(value)} is not a JSON value"


def _show(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
