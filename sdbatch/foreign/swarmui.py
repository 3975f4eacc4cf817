"""SwarmUI's `parameters`: JSON with `sui_image_params`, in the names of ComfyUI, on which it runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sdbatch.foreign.comfyui import schedule
from sdbatch.foreign.found import Found, Gathering, number, parsed

KEY = "parameters"
_SIMPLE = {
    "prompt": "prompt",
    "negativeprompt": "negative_prompt",
    "seed": "seed",
    "steps": "steps",
    "cfgscale": "guidance_scale",
    "width": "width",
    "height": "height",
    "initimagecreativity": "strength",
}
_HANDLED = {*_SIMPLE, "model", "sampler", "scheduler", "loras", "loraweights", "clipstopatlayer"}
_ABOUT = {"swarm_version", "images", "aspectratio", "automaticvae", "date", "generation_time", "sidelength"}


def read(texts: Mapping[str, str]) -> Found | None:
    """The row that the JSON tells; None where the text is no such JSON."""
    content = parsed(texts.get(KEY, ""))
    params = (content or {}).get("sui_image_params")
    if not isinstance(params, dict):
        return None
    gathering = Gathering("swarmui")
    for key, name in _SIMPLE.items():
        gathering.take(name, params.get(key), key)
    schedule(gathering, params.get("sampler"), params.get("scheduler"), ("sampler", "scheduler"))
    gathering.name_model(params.get("model"), "model")
    _loras(gathering, params.get("loras"), params.get("loraweights"))
    layer = params.get("clipstopatlayer")
    if isinstance(layer, int):
        gathering.take("clip_skip", -layer - 1 if layer != -1 else None, "clipstopatlayer")
    elif layer is not None:
        gathering.skip("clipstopatlayer", layer)
    if "initimagecreativity" in params:
        gathering.skip("initimage", "the picture that it began with is not in the metadata")
    for key, value in params.items():
        if key not in _HANDLED | _ABOUT:
            gathering.skip(key, value)
    return gathering.found()


def _loras(gathering: Gathering, names: Any, weights: Any) -> None:
    names, weights = _listed(names), _listed(weights)
    if names:
        strengths = [number(weight) if isinstance(weight, str) else weight for weight in weights]
        strengths += [1.0] * (len(names) - len(strengths))
        loras = [
            {"name": str(name).replace("\\", "/").rpartition("/")[2].removesuffix(".safetensors"), "weight": weight}
            for name, weight in zip(names, strengths, strict=False)
        ]
        gathering.take("loras", loras, "loras")


def _listed(value: Any) -> list[Any]:
    """A list; older versions write `a,b`."""
    return value if isinstance(value, list) else value.split(",") if isinstance(value, str) and value else []
