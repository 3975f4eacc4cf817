"""InvokeAI's `invokeai_metadata` (version 3 and later), and the `sd-metadata` of version 2."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from sdbatch.foreign.found import Found, Gathering, parsed

KEY, OLDER = "invokeai_metadata", "sd-metadata"
_SAMPLERS = {
    "ddim": "ddim",
    "ddpm": "ddpm",
    "deis": "deis",
    "dpmpp_2m": "dpmpp_2m",
    "dpmpp_2m_sde": "dpmpp_2m_sde",
    "dpmpp_2s": "dpmpp_2s",
    "dpmpp_sde": "dpmpp_sde",
    "euler": "euler",
    "euler_a": "euler_a",
    "heun": "heun",
    "kdpm_2": "dpm2",
    "kdpm_2_a": "dpm2_a",
    "lcm": "lcm",
    "lms": "lms",
    "pndm": "pndm",
    "unipc": "unipc",
}
_OLDER = {
    "ddim": "ddim",
    "plms": "pndm",
    "k_lms": "lms",
    "k_euler": "euler",
    "k_euler_a": "euler_a",
    "k_heun": "heun",
    "k_dpm_2": "dpm2",
    "k_dpm_2_a": "dpm2_a",
}
_SIMPLE = {
    "positive_prompt": "prompt",
    "negative_prompt": "negative_prompt",
    "seed": "seed",
    "steps": "steps",
    "cfg_scale": "guidance_scale",
    "width": "width",
    "height": "height",
    "clip_skip": "clip_skip",
    "strength": "strength",
}
_HANDLED = {*_SIMPLE, "scheduler", "model", "loras", "generation_mode", "rand_device"}
_ABOUT = {"app_version"}
_WEIGHTED = re.compile(r"\)[-+\d]|\w[-+]{2}")


def read(texts: Mapping[str, str]) -> Found | None:
    """The row that the JSON tells; None where there is none of InvokeAI's."""
    content = parsed(texts.get(KEY, ""))
    if content is not None:
        return _newer(content)
    content = parsed(texts.get(OLDER, ""))
    image = (content or {}).get("image")
    return _older(content or {}, image) if isinstance(image, dict) else None


def _newer(content: dict[str, Any]) -> Found:
    gathering = Gathering("invokeai")
    for key, name in _SIMPLE.items():
        gathering.take(name, content.get(key), key)
    if not gathering.params.get("clip_skip"):
        gathering.params.pop("clip_skip", None)
    _plain(gathering)
    written = content.get("scheduler")
    if written is not None:
        name = str(written).lower()
        bare = name.removesuffix("_k")
        gathering.sampler(_SAMPLERS.get(bare), "karras" if name != bare else None, "scheduler", written)
    model = content.get("model")
    gathering.name_model(_name(model) or model, "model")
    _loras(gathering, content.get("loras"))
    mode = content.get("generation_mode", "txt2img")
    if not str(mode).endswith("txt2img"):
        gathering.skip("generation_mode", mode)
    if content.get("rand_device", "cpu") != "cpu":
        gathering.skip("rand_device", f"the noise was drawn on {content['rand_device']}")
    for key, value in content.items():
        if key not in _HANDLED | _ABOUT and value not in (None, [], "", 0, False):
            gathering.skip(key, value)
    return gathering.found()


def _older(content: dict[str, Any], image: dict[str, Any]) -> Found:
    gathering = Gathering("invokeai")
    for key in ("seed", "steps", "cfg_scale", "width", "height", "strength"):
        gathering.take(_SIMPLE[key], image.get(key), key)
    prompt = image.get("prompt")
    parts = [part.get("prompt") if isinstance(part, dict) else part for part in _listed(prompt)]
    whole = " ".join(part for part in parts if isinstance(part, str))
    # What stands in brackets is what to avoid.
    negative = " ".join(re.findall(r"\[([^\[\]]*)\]", whole))
    gathering.take("prompt", re.sub(r"\[[^\[\]]*\]", "", whole).strip(), "prompt")
    gathering.take("negative_prompt", negative or None, "prompt")
    if len(parts) > 1:
        gathering.skip("prompt", prompt)
    _plain(gathering)
    if image.get("sampler") is not None:
        gathering.sampler(_OLDER.get(str(image["sampler"]).lower()), None, "sampler", image["sampler"])
    gathering.name_model(content.get("model_weights"), "model_weights")
    if image.get("type", "txt2img") != "txt2img":
        gathering.skip("type", image["type"])
    for key, value in image.items():
        if key not in _HANDLED | {"prompt", "sampler", "type"} and value not in (None, [], "", 0, False):
            gathering.skip(key, value)
    return gathering.found()


def _plain(gathering: Gathering) -> None:
    """Its brackets mean other things than AUTOMATIC1111's, so that the prompt is taken as it stands."""
    prompts = [gathering.params.get(name, "") for name in ("prompt", "negative_prompt")]
    if any(mark in prompt for prompt in prompts for mark in "()[]{}<>"):
        gathering.params["prompt_syntax"] = "plain"
    if any(_WEIGHTED.search(prompt) for prompt in prompts):
        gathering.skip("weights in the prompt", "are read as plain text")


def _loras(gathering: Gathering, listed: Any) -> None:
    loras = []
    for item in _listed(listed):
        name = _name(item.get("lora") or item.get("model")) if isinstance(item, dict) else None
        if name is None or not isinstance(item.get("weight", 1.0), (int, float)):
            gathering.skip("loras", item)
        else:
            loras.append({"name": name, "weight": item.get("weight", 1.0)})
    if loras:
        gathering.take("loras", loras, "loras")


def _name(model: Any) -> str | None:
    if not isinstance(model, dict):
        return None
    return next((model[key] for key in ("name", "model_name") if isinstance(model.get(key), str)), None)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]
