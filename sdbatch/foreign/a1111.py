"""AUTOMATIC1111's `parameters` text, which many tools write: prompt, negative prompt, and one line of keys."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from sdbatch.foreign.found import Found, Gathering, number, parsed
from sdbatch.parameters import SCHEDULE_TYPES, sampler

KEY = "parameters"
PAIRS_MIN = 3
"""With fewer keys on the last line it is a line of the prompt."""
_NEGATIVE = "Negative prompt:"
_NAME = re.compile(r"\w[\w \-/]{0,99}\Z")
_QUOTED = re.compile(r'"(?:\\.|[^\\"])*"')
_SIZE = re.compile(r"(\d{1,5})x(\d{1,5})\Z")
_SIGMAS = {name.casefold(): sigmas for sigmas, name in SCHEDULE_TYPES.items()}
_AUTOMATIC = {
    "dpm2": "karras",
    "dpm2_a": "karras",
    "dpmpp_2m": "karras",
    "dpmpp_sde": "karras",
    "dpmpp_2m_sde": "exponential",
    "dpmpp_3m_sde": "exponential",
}
"""What "Schedule type: Automatic" means, in AUTOMATIC1111 1.9 and later (modules/sd_samplers_kdiffusion.py)."""
_SIMPLE = {"Steps": "steps", "CFG scale": "guidance_scale", "Seed": "seed", "Eta DDIM": "eta"}
_ABOUT = {"Model", "Model hash", "Version", "Lora hashes", "Hashes", "RNG", "Sampler", "Schedule type", "Size"}
_HANDLED = _ABOUT | _SIMPLE.keys() | {"Clip skip", "Denoising strength"}
_HIRES = ("Hires upscale", "Hires resize", "Hires steps")
OTHERS = ("prompt", "invokeai_metadata", "sd-metadata")


def read(texts: Mapping[str, str]) -> Found | None:
    """The row that the text tells; None where there is none, or it has no keys and another tool's text is there."""
    text = texts.get(KEY, "").strip()
    if not text or parsed(text) is not None:  # JSON is some other tool's
        return None
    *lines, last = text.split("\n")
    settings = pairs(last)
    if len(settings) < PAIRS_MIN:
        if any(other in texts for other in OTHERS):
            return None
        lines, settings = [*lines, last], {}
    gathering = Gathering("a1111")
    prompt, negative = _prompts(lines)
    gathering.take("prompt", prompt, "prompt")
    gathering.take("negative_prompt", negative, _NEGATIVE)
    _map(gathering, settings)
    return gathering.found()


def pairs(line: str) -> dict[str, str]:
    """`key: value, key: "quoted, value"` as a mapping, in time that grows with the line's length alone."""
    found: dict[str, str] = {}
    at, colon = 0, -1
    while at < len(line):
        if colon < at:
            colon = line.find(":", at)
        comma = line.find(",", at)
        if colon < 0:
            break
        key = "" if 0 <= comma < colon else line[at:colon].strip() if colon - at < 200 else ""
        if not _NAME.match(key):
            at = comma + 1 if comma >= 0 else len(line)
            continue
        value, at = _value(line, colon + 1)
        found.setdefault(key, value)
    return found


def _value(line: str, at: int) -> tuple[str, int]:
    """A value and the place after its comma."""
    while at < len(line) and line[at] == " ":
        at += 1
    quoted = _QUOTED.match(line, at)
    if quoted and line[quoted.end() : quoted.end() + 1] in ("", ",", " "):
        end = line.find(",", quoted.end())
        try:
            text = json.loads(quoted[0])
        except ValueError:
            text = quoted[0][1:-1]
        return str(text), len(line) if end < 0 else end + 1
    end = line.find("}", at) if line[at : at + 1] == "{" else at  # Hashes: {...} is not quoted
    end = line.find(",", max(end, at))
    end = len(line) if end < 0 else end
    return line[at:end].strip(), end + 1


def _prompts(lines: list[str]) -> tuple[str, str | None]:
    prompt: list[str] = []
    negative: list[str] | None = None
    for line in lines:
        line = line.strip()
        if line.startswith(_NEGATIVE):
            line = line[len(_NEGATIVE) :].strip()
            negative = negative if negative is not None else []
        (prompt if negative is None else negative).append(line)
    return "\n".join(prompt), None if negative is None else "\n".join(negative)


def _map(gathering: Gathering, settings: dict[str, str]) -> None:
    for key, name in _SIMPLE.items():
        gathering.take(name, settings.get(key), key)
    if "Seed" not in settings:
        gathering.skip("Seed", "is not told")
    _sampler(gathering, settings)
    _size(gathering, settings.get("Size"))
    _clip_skip(gathering, settings.get("Clip skip"))
    gathering.name_model(settings.get("Model"), "Model")
    strength = settings.get("Denoising strength")
    if strength is not None:
        gathering.take("strength", strength, "Denoising strength")
        if not any(key in settings for key in _HIRES):
            gathering.skip("Denoising strength", f"{strength}, of a picture that the metadata do not name")
    if settings and settings.get("RNG") != "CPU":
        gathering.skip(
            "RNG", f"the noise was drawn on a {settings.get('RNG', 'GPU')}, which cannot be drawn again here"
        )
    for key, value in settings.items():
        if key not in _HANDLED:
            gathering.skip(key, value)


def _sampler(gathering: Gathering, settings: dict[str, str]) -> None:
    written = settings.get("Sampler")
    if written is None:
        return
    scheduler, sigmas = sampler(written)
    kind = settings.get("Schedule type", "").casefold()
    if kind == "automatic":
        sigmas = _AUTOMATIC.get(scheduler or "")
    elif kind not in ("", "uniform"):
        sigmas = _SIGMAS.get(kind)
        if sigmas is None:
            gathering.skip("Schedule type", settings["Schedule type"])
    gathering.sampler(scheduler, sigmas, "Sampler", written)


def _size(gathering: Gathering, written: str | None) -> None:
    match = _SIZE.match(written or "")
    if match:
        gathering.take("width", match[1], "Size (width)")
        gathering.take("height", match[2], "Size (height)")
    elif written is not None:
        gathering.skip("Size", written)


def _clip_skip(gathering: Gathering, written: str | None) -> None:
    count: Any = number(written) if written is not None else None
    if isinstance(count, int):
        # AUTOMATIC1111 counts the layer it stops at from 1; `clip_skip` counts the layers left out.
        gathering.take("clip_skip", count - 1 if count != 1 else None, "Clip skip")
    elif written is not None:
        gathering.skip("Clip skip", written)
