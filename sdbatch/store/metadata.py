"""The texts that a picture carries: AUTOMATIC1111's `parameters`, which other tools read, and sdbatch's own JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

SCHEMA = 1

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
"""How AUTOMATIC1111 spells each of `parameters.SCHEDULERS`."""

_SCHEDULE_TYPES = {"karras": "Karras", "exponential": "Exponential", "beta": "Beta"}
_MODES_WITH_STRENGTH = ("img2img", "inpaint", "outpaint", "depth2img")


def parameters_text(record_params: Mapping[str, Any], model_name: str, model_hash: str, version: str) -> str:
    """What AUTOMATIC1111 would write about a picture.

    Prompts stand as they are, so a prompt that itself has a line `Negative prompt: ...` is read
    wrongly by any reader of this format; `sdbatch_json` has no such hole.

    Args:
        record_params: parameters by name; those missing or null are left out.
        model_name: as a person would call it; left out if empty.
        model_hash: hex digits of the model's hash, of which the first 10 are written; left out if empty.
        version: sdbatch's version, such as `0.1.0`.
    """
    prompt = str(record_params.get("prompt") or "")
    negative = str(record_params.get("negative_prompt") or "")
    pairs = {
        **_settings(record_params),
        "Model hash": model_hash[:10] or None,
        "Model": model_name or None,
        **_extras(record_params),
        "RNG": "CPU",  # where it is missing, readers take the noise to be drawn on a GPU
        "Version": f"sdbatch {version}",
    }
    settings = ", ".join(f"{key}: {_value(value)}" for key, value in pairs.items() if value is not None)
    parts = [prompt, f"Negative prompt: {negative}" if negative else "", settings]
    return "\n".join(part for part in parts if part)


def sdbatch_json(
    id: str,  # the project's word, in the manifest as here
    row: str,
    params: Mapping[str, Any],
    model_hash: str,
    fingerprint: str,
    version: str,
) -> str:
    """Everything that makes the picture again, as compact ASCII JSON with sorted keys.

    Args:
        id, row: the manifest's.
        params: parameters by name; null ones are left out, except `width` and `height`, which are always there.

    Raises:
        ValueError: a number is not finite.
        TypeError: a value is not a JSON value.
    """
    kept = {name: value for name, value in params.items() if value is not None}
    content = {
        "schema": SCHEMA,
        "id": id,
        "row": row,
        "params": {"width": None, "height": None, **kept},
        "model_hash": model_hash,
        "fingerprint": fingerprint,
        "version": version,
    }
    return json.dumps(content, ensure_ascii=True, allow_nan=False, sort_keys=True, separators=(",", ":"))


def _settings(params: Mapping[str, Any]) -> dict[str, Any]:
    scheduler, sigmas = params.get("scheduler"), params.get("sigmas")
    width, height = params.get("width"), params.get("height")
    return {
        "Steps": params.get("steps"),
        "Sampler": SAMPLER_NAMES.get(scheduler, scheduler) if scheduler else None,
        "Schedule type": _SCHEDULE_TYPES.get(sigmas, sigmas) if sigmas else None,
        "CFG scale": params.get("guidance_scale"),
        "Seed": params.get("seed"),
        "Size": f"{width}x{height}" if width is not None and height is not None else None,
    }


def _extras(params: Mapping[str, Any]) -> dict[str, Any]:
    clip_skip, eta = params.get("clip_skip"), params.get("eta")
    return {
        "Denoising strength": params.get("strength") if params.get("mode") in _MODES_WITH_STRENGTH else None,
        # AUTOMATIC1111 counts the layer it stops at from 1; `clip_skip` counts the layers left out.
        "Clip skip": clip_skip + 1 if clip_skip is not None else None,
        "Eta DDIM": eta if eta and params.get("scheduler") == "ddim" else None,
    }


def _value(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if any(mark in text for mark in ",:\n") else text
