"""The texts that a picture carries: AUTOMATIC1111's `parameters`, which other tools read, and sdbatch's own JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sdbatch.parameters import SAMPLER_NAMES, SCHEDULE_TYPES

SCHEMA = 1

_MODES_WITH_STRENGTH = ("img2img", "inpaint", "depth2img", "upscale")


def parameters_text(
    record_params: Mapping[str, Any],
    model_name: str,
    model_hash: str,
    version: str,
    fine_tunes: Sequence[Mapping[str, Any]] = (),
) -> str:
    """What AUTOMATIC1111 would write about a picture.

    Prompts stand as they are, so a prompt that itself has a line `Negative prompt: ...` is read
    wrongly by any reader of this format; `sdbatch_json` has no such hole.

    Args:
        record_params: parameters by name; those missing or null are left out.
        model_name: as a person would call it; left out if empty.
        model_hash: hex digits of the model's hash, of which the first 10 are written; left out if empty.
        version: sdbatch's version, such as `0.1.0`.
        fine_tunes: each with kind, name, short (its hash), and weight or strength: LoRAs and hypernetworks
            are told as the tags that AUTOMATIC1111 has for them.
    """
    prompt = " ".join([str(record_params.get("prompt") or ""), *_tags(fine_tunes)]).strip()
    negative = str(record_params.get("negative_prompt") or "")
    pairs = {
        **_settings(record_params),
        "Model hash": model_hash[:10] or None,
        "Model": model_name or None,
        **_extras(record_params),
        "Lora hashes": _hashes(fine_tunes, "lora"),
        "TI hashes": _hashes(fine_tunes, "embedding"),
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
    fine_tunes: Sequence[Mapping[str, Any]] = (),
) -> str:
    """Everything that makes the picture again, as compact ASCII JSON with sorted keys.

    Args:
        id, row: the manifest's.
        params: parameters by name; null ones are left out, except `width` and `height`, which are always there.
        fine_tunes: as the manifest has them; left out where there are none.

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
        **({"fine_tunes": list(fine_tunes)} if fine_tunes else {}),
    }
    return json.dumps(content, ensure_ascii=True, allow_nan=False, sort_keys=True, separators=(",", ":"))


def _settings(params: Mapping[str, Any]) -> dict[str, Any]:
    scheduler, sigmas = params.get("scheduler"), params.get("sigmas")
    width, height = params.get("width"), params.get("height")
    return {
        "Steps": params.get("steps"),
        "Sampler": SAMPLER_NAMES.get(scheduler, scheduler) if scheduler else None,
        "Schedule type": SCHEDULE_TYPES.get(sigmas, sigmas) if sigmas else None,
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


def _tags(fine_tunes: Sequence[Mapping[str, Any]]) -> list[str]:
    kinds = {"lora": ("lora", "weight"), "hypernetwork": ("hypernet", "strength")}
    return [
        f"<{kinds[tune['kind']][0]}:{tune['name']}:{_value(tune[kinds[tune['kind']][1]])}>"
        for tune in fine_tunes
        if tune["kind"] in kinds
    ]


def _hashes(fine_tunes: Sequence[Mapping[str, Any]], kind: str) -> str | None:
    """`name: hash, name: hash` of one kind; None where there are none."""
    return ", ".join(f"{tune['name']}: {tune['short']}" for tune in fine_tunes if tune["kind"] == kind) or None


def _value(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if any(mark in text for mark in ",:\n") else text
