"""AUTOMATIC1111's text, as it and its forks write it."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdbatch import foreign
from sdbatch.foreign import Found
from sdbatch.foreign.a1111 import pairs
from sdbatch.parameters import PARAMETERS, SAMPLER_NAMES, WITH_SIGMAS
from sdbatch.store.metadata import parameters_text

TEXT = """a cat, "quoted": (fur:1.2)
on a mat <lora:soft:0.6>
Negative prompt: blurry,
dark
Steps: 25, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 6.5, Seed: 4294967295, Size: 512x768, \
Model hash: 6ce0161689, Model: "dream, v1: final", Clip skip: 2, Eta DDIM: 0.5, RNG: CPU, Version: v1.10.1"""


def read(text: str) -> Found:
    found = foreign.read({"parameters": text})
    assert found is not None and found.tool == "a1111"
    return found


def settings(**more: str) -> Found:
    pairs = {"Steps": "20", "Seed": "1", "RNG": "CPU", **{key.replace("_", " "): value for key, value in more.items()}}
    return read("x\n" + ", ".join(f"{key}: {value}" for key, value in pairs.items()))


def test_a_whole_text() -> None:
    assert read(TEXT) == Found(
        "a1111",
        {
            "prompt": 'a cat, "quoted": (fur:1.2)\non a mat <lora:soft:0.6>',
            "negative_prompt": "blurry,\ndark",
            "steps": 25,
            "guidance_scale": 6.5,
            "seed": 2**32 - 1,
            "eta": 0.5,
            "scheduler": "dpmpp_2m",
            "sigmas": "karras",
            "width": 512,
            "height": 768,
            "clip_skip": 1,
        },
        {},
        "dream, v1: final",
    )


def test_what_cannot_be_made_again_is_listed() -> None:
    found = read(TEXT.replace("RNG: CPU, ", "") + ", ADetailer model: face.pt, ENSD: 31337")
    assert found.unmapped.keys() == {"RNG", "ADetailer model", "ENSD"}
    assert "GPU" in found.unmapped["RNG"]
    assert "NV" in settings(RNG="NV").unmapped["RNG"]


def test_fewer_than_three_keys_are_a_line_of_the_prompt() -> None:
    found = read("a cat\nSteps: 3, Seed: 4")
    assert found.params == {"prompt": "a cat\nSteps: 3, Seed: 4"}
    assert "Seed" in found.unmapped


def test_other_tools_texts_win_over_a_prompt_without_keys() -> None:
    found = foreign.read({"parameters": "a cat", "invokeai_metadata": '{"seed": 3}'})
    assert found is not None and found.tool == "invokeai"
    assert foreign.read({"parameters": '{"fooocus": 1}'}) is None
    assert foreign.read({"parameters": "", "other": "x"}) is None


@pytest.mark.parametrize(
    ("name", "kind", "scheduler", "sigmas"),
    [
        ("DPM++ 2M Karras", "", "dpmpp_2m", "karras"),
        ("DPM++ 2M SDE Exponential", "", "dpmpp_2m_sde", "exponential"),
        ("Euler a", "Automatic", "euler_a", None),
        ("DPM++ 2M", "Automatic", "dpmpp_2m", "karras"),
        ("DPM++ 3M SDE", "Automatic", "dpmpp_3m_sde", "exponential"),
        ("Euler", "Uniform", "euler", None),
        ("PLMS", "", "pndm", None),
    ],
)
def test_samplers(name: str, kind: str, scheduler: str, sigmas: str | None) -> None:
    found = settings(Sampler=name, **({"Schedule_type": kind} if kind else {}))
    assert (found.params["scheduler"], found.params.get("sigmas")) == (scheduler, sigmas)
    assert not found.unmapped


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("Sampler", "DPM++ 2S a"),
        ("Sampler", "Restart"),
        ("Seed", "-1"),
        ("Seed", "99999999999"),
        ("Seed", "9" * 5000),
        ("Steps", "1e999"),
        ("Steps", "2000"),
        ("CFG scale", "NaN"),
        ("Clip skip", "0"),
        ("Clip skip", "x"),
        ("Size", "512"),
    ],
)
def test_a_value_that_has_no_place_is_listed_and_not_kept(key: str, value: str) -> None:
    found = settings(**{key.replace(" ", "_"): value})
    assert key in found.unmapped
    assert len(found.unmapped[key]) <= 80


def test_half_a_size_and_schedules_without_a_place() -> None:
    found = settings(Size="65x64", Sampler="Euler a", Schedule_type="SGM Uniform")
    assert "width" not in found.params and found.params["height"] == 64
    assert {"Size (width)", "Schedule type"} <= found.unmapped.keys()
    assert "Sampler (Karras)" in settings(Sampler="Euler a Karras").unmapped


def test_strength_without_its_picture_is_listed_but_hires_fix_is() -> None:
    assert "Denoising strength" in settings(Denoising_strength="0.5").unmapped
    assert settings(Denoising_strength="0.5", Hires_upscale="2").unmapped.keys() == {"Hires upscale"}


def test_lcm_has_an_end_of_steps() -> None:
    found = settings(Sampler="LCM", Steps="60")
    assert "steps" in found.unmapped and "steps" not in found.params


def test_pairs() -> None:
    line = 'a: 1, b: "x, \\"y\\": z", Hashes: {"model": "1", "lora:x": "2"}, c d/e-f:g, , junk, h: "open'
    expected = {"a": "1", "b": 'x, "y": z', "Hashes": '{"model": "1", "lora:x": "2"}', "c d/e-f": "g", "h": '"open'}
    assert pairs(line) == expected
    assert pairs("") == pairs(",,,:,") == {}


@pytest.mark.parametrize(
    "line", ["," * 2_000_000, "a" * 2_000_000, "a: " * 500_000, 'a: "' * 500_000, "a b " * 500_000]
)
def test_reading_takes_time_in_step_with_the_length(line: str) -> None:
    begun = time.monotonic()
    pairs(line)
    assert time.monotonic() - begun < 5


def sound(name: str) -> Any:
    parameter = PARAMETERS[name]
    return st.integers(int(parameter.low or 0), int(parameter.high or 0))


@given(
    scheduler=st.sampled_from(sorted(SAMPLER_NAMES)),
    karras=st.booleans(),
    seed=sound("seed"),
    steps=st.integers(1, 50),
    guidance=st.floats(0, 100),
    prompt=st.text(st.characters(exclude_categories=["C", "Z"]), max_size=100),
)
def test_what_sdbatch_writes_reads_back(
    scheduler: str, karras: bool, seed: int, steps: int, guidance: float, prompt: str
) -> None:
    params = {"prompt": f"a {prompt} b", "negative_prompt": "n", "seed": seed, "steps": steps, "scheduler": scheduler}
    params |= {"guidance_scale": guidance, "width": 64, "height": 8, "clip_skip": 3}
    if karras and scheduler in WITH_SIGMAS:
        params["sigmas"] = "karras"
    found = read(parameters_text(params, "demo", "0" * 64, "1"))
    assert found.params == params
    assert not found.unmapped and found.model == "demo"


@given(st.text(max_size=300))
def test_any_text_is_read(text: str) -> None:
    foreign.read({"parameters": text})
    foreign.read({"parameters": f"x\nSteps: 1, Seed: 2, {text}"})
