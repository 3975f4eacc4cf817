"""The texts that describe a picture."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sdbatch.parameters import PARAMETERS, SAMPLER_NAMES, SCHEDULERS
from sdbatch.store.metadata import parameters_text, sdbatch_json

PARAMS: dict[str, Any] = {name: parameter.default for name, parameter in PARAMETERS.items()} | {
    "prompt": "a red circle",
    "seed": 1,
    "width": 64,
    "height": 48,
}
HASH = "6ce0161689b3853acaa03779ec93eafe75a02f4ced659bee03f50797806fa2fa"


def text(model: str = "demo", **changes: Any) -> str:
    return parameters_text(PARAMS | changes, model, HASH, "0.1.0")


def last(**changes: Any) -> str:
    return text(**changes).split("\n")[-1]


def test_the_whole_text() -> None:
    assert text(negative_prompt="blurry") == (
        "a red circle\n"
        "Negative prompt: blurry\n"
        "Steps: 20, Sampler: DDIM, CFG scale: 4, Seed: 1, Size: 64x48, "
        "Model hash: 6ce0161689, Model: demo, RNG: CPU, Version: sdbatch 0.1.0"
    )


def test_empty_prompts_leave_no_empty_lines() -> None:
    assert "Negative prompt" not in text()
    assert text(prompt="").startswith("Steps: 20, ")
    assert text(prompt="", negative_prompt="x").startswith("Negative prompt: x\nSteps: ")


def test_every_scheduler_has_a_name_of_its_own() -> None:
    assert set(SAMPLER_NAMES) == set(SCHEDULERS)
    assert len(set(SAMPLER_NAMES.values())) == len(SCHEDULERS)
    assert "Sampler: PLMS," in last(scheduler="pndm")


@pytest.mark.parametrize(("scale", "shown"), [(4.0, "4"), (7.5, "7.5"), (0.1 + 0.2, "0.30000000000000004"), (0, "0")])
def test_numbers(scale: float, shown: str) -> None:
    assert f"CFG scale: {shown}," in last(guidance_scale=scale)


def test_what_only_some_rows_have() -> None:
    plain = last()
    assert not any(key in plain for key in ("Clip skip", "Schedule type", "Denoising", "Eta"))
    # One layer left out is AUTOMATIC1111's "Clip skip: 2".
    assert "Clip skip: 2," in last(clip_skip=1)
    assert "Sampler: DPM++ 2M, Schedule type: Karras," in last(scheduler="dpmpp_2m", sigmas="karras")
    assert "Schedule type: Exponential," in last(sigmas="exponential")
    assert "Denoising strength: 0.8," in last(mode="img2img")
    assert "Eta DDIM: 0.5," in last(eta=0.5)


def test_only_an_ambiguous_value_is_quoted() -> None:
    assert "Model: my model v1.5," in text(model="my model v1.5")
    assert 'Model: "a, b: \\"c\\"",' in text(model='a, b: "c"')
    assert 'Model: "a\\nb",' in text(model="a\nb")


def test_missing_parameters_and_hash_are_left_out() -> None:
    assert parameters_text({"steps": 3}, "", "", "0.1.0") == "Steps: 3, RNG: CPU, Version: sdbatch 0.1.0"


def test_json_is_compact_sorted_ascii_and_complete() -> None:
    found = sdbatch_json("i", "r", PARAMS | {"prompt": "né 🎈", "width": None}, HASH, "f", "0.1.0")
    assert found.isascii() and ": " not in found
    content = json.loads(found)
    assert list(content) == sorted(content)
    assert list(content["params"]) == sorted(content["params"])
    assert content["params"]["prompt"] == "né 🎈"
    assert content["params"]["width"] is None and content["params"]["height"] == 48
    assert "clip_skip" not in content["params"]
    assert {key: content[key] for key in ("schema", "id", "row", "model_hash", "fingerprint", "version")} == {
        "schema": 1,
        "id": "i",
        "row": "r",
        "model_hash": HASH,
        "fingerprint": "f",
        "version": "0.1.0",
    }


def test_json_refuses_a_number_that_is_not_finite() -> None:
    with pytest.raises(ValueError, match="JSON"):
        sdbatch_json("i", "r", {"eta": float("nan")}, HASH, "f", "0.1.0")
