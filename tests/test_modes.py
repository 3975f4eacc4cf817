"""Modes: what every mode's file promises to the rest."""

from __future__ import annotations

import inspect

import pytest

from sdbatch import modes
from sdbatch.errors import UsageError
from sdbatch.parameters import MODES, PARAMETERS

DEFAULTS = {name: parameter.default for name, parameter in PARAMETERS.items()} | {"width": 64, "height": 64}
GIVEN_BY_THE_RENDERER = {
    "prompt", "prompt_embeds", "negative_prompt", "negative_prompt_embeds", "latents", "generator", "guidance_scale",
    "output_type",
}  # fmt: skip


def test_the_modes_of_this_version() -> None:
    assert modes.available() == ["txt2img"]
    assert set(modes.available()) <= set(MODES)


@pytest.mark.parametrize("name", modes.available())
def test_a_mode_uses_parameters_that_there_are(name: str) -> None:
    mode = modes.get(name)
    assert mode.LATER <= mode.USES <= PARAMETERS.keys()
    assert {"model", "mode", "prompt", "seed", "width", "height", "steps", "scheduler"} <= mode.USES - mode.LATER
    assert mode.KINDS


@pytest.mark.parametrize("name", modes.available())
def test_a_modes_arguments_are_those_of_its_pipeline(name: str) -> None:
    import diffusers

    mode = modes.get(name)
    arguments = mode.arguments(DEFAULTS)
    assert arguments.keys() <= inspect.signature(getattr(diffusers, mode.PIPELINE).__call__).parameters.keys()
    assert not arguments.keys() & GIVEN_BY_THE_RENDERER


def test_txt2img_hands_on_size_steps_and_eta() -> None:
    params = {**DEFAULTS, "width": 72, "height": 80, "steps": 7, "eta": 0.5}
    given = modes.get("txt2img").arguments(params)
    assert given == {"width": 72, "height": 80, "num_inference_steps": 7, "eta": 0.5}


@pytest.mark.parametrize("name", ["upscale", "", "../errors", "txt2img.py", "__init__", "no.such"])
def test_a_mode_that_there_is_not(name: str) -> None:
    with pytest.raises(UsageError, match=r"is not in this version; there is: txt2img"):
        modes.get(name)
