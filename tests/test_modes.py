"""Modes: what every mode's file promises to the rest."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from sdbatch import modes
from sdbatch.errors import UsageError
from sdbatch.parameters import MODES, PARAMETERS

ROOT = Path(__file__).resolve().parent.parent
DEFAULTS = {name: parameter.default for name, parameter in PARAMETERS.items()} | {"width": 64, "height": 64}
GIVEN_BY_THE_RENDERER = {
    "prompt", "prompt_embeds", "negative_prompt", "negative_prompt_embeds", "latents", "generator", "guidance_scale",
    "output_type",
}  # fmt: skip


def test_the_modes_of_this_version() -> None:
    assert sorted(MODES) == modes.available()


@pytest.mark.parametrize("name", modes.available())
def test_a_mode_uses_parameters_that_there_are(name: str) -> None:
    mode = modes.get(name)
    assert PARAMETERS.keys() >= mode.USES
    denoises = {"model", "mode", "prompt", "seed", "steps", "scheduler"}
    assert ({"mode", "image"} if mode.PIPELINES == {"sd": ""} else denoises) <= mode.USES
    assert {*mode.NEEDS, *mode.SIZED, *mode.CHECKED} <= mode.USES | {"width", "height"}
    assert mode.PICTURE is None or mode.PICTURE in mode.USES
    assert mode.PIPELINES and mode.ABOUT


def test_a_pictures_own_size_is_cut_to_what_models_take() -> None:
    native = {"fit": "native"}
    assert modes.picture_size(native, (512, 512), (512, 519)) == (512, 512)
    assert modes.picture_size(native, (512, 512), (130, 70)) == (128, 64)
    assert modes.picture_size({"width": 40}, (512, 512), (130, 70)) == (40, 64)
    assert modes.picture_size({}, (512, 256), (0, 0)) == (512, 256)
    with pytest.raises(ValueError, match="leave width and height out"):
        modes.picture_size({**native, "height": 64}, (512, 512), (64, 64))


def test_no_mode_names_another() -> None:
    for package in ("sdbatch/modes", "sdbatch/render/modes"):
        for name in MODES:
            text = (ROOT / package / f"{name}.py").read_text("utf-8")
            others = [other for other in MODES if other != name and f"modes.{other}" in text]
            assert not others and not any(f"import {other}" in text for other in MODES if other != name)


@pytest.mark.parametrize("name", modes.available())
def test_a_modes_arguments_are_those_of_its_pipeline(name: str) -> None:
    import diffusers

    mode = modes.get(name)
    arguments = mode.arguments({**DEFAULTS, "controlnet": "a", "control_image": "b.png"})
    assert not arguments.keys() & GIVEN_BY_THE_RENDERER
    for pipeline in filter(None, mode.PIPELINES.values()):
        assert arguments.keys() <= inspect.signature(getattr(diffusers, pipeline).__call__).parameters.keys()


@pytest.mark.parametrize("kind", ["sd", "sdxl", "sd-inpaint", "sd-depth", "sd-upscale", "realesrgan"])
def test_a_kind_of_model_fits_the_modes_that_have_a_pipeline_for_it(kind: str) -> None:
    assert modes.fitting(kind) == tuple(
        name
        for name in modes.available()
        if kind in modes.get(name).PIPELINES and modes.get(name).PIPELINES != {"sd": ""}
    )
    assert modes.fitting(kind)


def test_txt2img_hands_on_size_steps_and_eta() -> None:
    params = {**DEFAULTS, "width": 72, "height": 80, "steps": 7, "eta": 0.5}
    given = modes.get("txt2img").arguments(params)
    assert given == {"width": 72, "height": 80, "num_inference_steps": 7, "eta": 0.5}


@pytest.mark.parametrize("name", ["txt2video", "", "../errors", "txt2img.py", "__init__", "no.such"])
def test_a_mode_that_there_is_not(name: str) -> None:
    with pytest.raises(UsageError, match=r"is not in this version; there is: controlnet, "):
        modes.get(name)
