"""controlnet: a picture from a prompt that follows control pictures: edges, depth and the like."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sdbatch.modes import COMMON, sized_by_picture

ABOUT = "a picture from a prompt that follows the edges, depth or the like of another"
PIPELINES = {"sd": "StableDiffusionControlNetPipeline"}
_CONTROL = tuple(f"control_{name}" for name in "image scale start end preprocessor".split())
USES = COMMON | {"width", "height", "fit", "controlnet", "accelerate", *_CONTROL}
NEEDS = ("controlnet", "control_image")
SIZED = ("width", "height", "fit")
PICTURE: str | None = "control_image"
CHECKED = ("controlnet", *_CONTROL, "model")
size = sized_by_picture
PREPROCESSORS = ("none", "canny", "depth")
_DEFAULTS = {"control_scale": 1.0, "control_start": 0.0, "control_end": 1.0, "control_preprocessor": "none"}


def listed(params: Mapping[str, Any], name: str) -> list[Any]:
    """A control parameter as one value for each ControlNet; a single value stands for all.

    Raises:
        ValueError: its length is not the number of ControlNets.
    """
    nets = params["controlnet"]
    count = len(nets) if isinstance(nets, list) else 1
    value = params.get(name)
    value = _DEFAULTS.get(name) if value is None else value
    values = value if isinstance(value, list) else [value] * count
    if len(values) != count:
        raise ValueError(f"{name} has {len(values)} values for {count} ControlNets")
    return values


def problem(params: Mapping[str, Any], kind: str) -> str | None:
    """Whether there is as much of everything as there are ControlNets, and within bounds."""
    try:
        values = {name: listed(params, name) for name in ("controlnet", *_CONTROL)}
    except ValueError as error:
        return str(error)
    for name in ("controlnet", "control_image"):
        if not values[name] or not all(isinstance(value, str) and value for value in values[name]):
            return f"{name} is not a text or a list of texts"
    for name, high in (("control_scale", 10.0), ("control_start", 1.0), ("control_end", 1.0)):
        if not all(_number(value) and 0 <= value <= high for value in values[name]):
            return f"{name} is not a number from 0 to {high:g}, or a list of them"
    if any(start >= end for start, end in zip(values["control_start"], values["control_end"], strict=True)):
        return "control_start is not before control_end"
    if wrong := next((wrong for value in values["control_preprocessor"] if (wrong := _preprocessor(value))), None):
        return wrong
    if "depth" in values["control_preprocessor"] and not str(params["model"]).startswith("demo"):
        return "control_preprocessor depth needs a model that has a depth estimator, as in {depth: stabilityai/…-depth}"
    return None


def arguments(params: Mapping[str, Any]) -> dict[str, Any]:
    """The pipeline's arguments that all rows of a batch share."""
    several = len(listed(params, "controlnet")) > 1
    names = {
        "controlnet_conditioning_scale": "control_scale",
        "control_guidance_start": "control_start",
        "control_guidance_end": "control_end",
    }
    control = {key: [float(value) for value in listed(params, name)] for key, name in names.items()}
    return {
        "width": params["width"],
        "height": params["height"],
        "num_inference_steps": params["steps"],
        "eta": params["eta"],
        **{key: values if several else values[0] for key, values in control.items()},
    }


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _preprocessor(value: Any) -> str | None:
    """`none`, `canny`, `depth`, {canny: [low, high]} or {depth: MODEL}."""
    if value in PREPROCESSORS:
        return None
    if isinstance(value, dict) and len(value) == 1:
        (name, setting), *_ = value.items()
        if name == "depth" and isinstance(setting, str):
            return None
        if name == "canny" and isinstance(setting, list) and len(setting) == 2:
            low, high = setting
            if _number(low) and _number(high) and 0 <= low <= high:
                return None
    return (
        f"control_preprocessor is not one of {', '.join(PREPROCESSORS)}, {{canny: [low, high]}} or {{depth: MODEL}}, "
        "or a list of them"
    )
