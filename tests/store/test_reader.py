"""There and back through an independent reader: what sd-parsers makes of the texts that sdbatch puts into pictures."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image
from sd_parsers import ParserManager
from sd_parsers.exceptions import ParserError

from sdbatch import foreign
from sdbatch.store.images import Texts, encode, read_texts
from sdbatch.store.metadata import parameters_text, sdbatch_json

FORMATS = ("png", "webp", "jpeg")
PIECES = st.one_of(
    st.sampled_from(
        ['"quoted"', "'single'", "\n", ", ", ": ", "Negative prompt: x", "Steps: 3, Seed: 4, Size: 8x8",
         "🎈👩\u200d👩\u200d👧", "שלום", "\u202eabc\u202c", "(a:1.3)", "[b]", "<lora:x:0.8>", "{a|b}", "\\", "\t", "é",
         "漢字", "Hashes: {", "}"]
    ),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
)  # fmt: skip
PROMPTS = st.lists(PIECES, max_size=8).map("".join)
LONG = st.tuples(st.sampled_from(["x", "é", "🎈", "ש", 'a "b", c: d\n']), st.sampled_from([30_000, 100_000])).map(
    lambda drawn: drawn[0] * (drawn[1] // len(drawn[0].encode()))
)
ODD = 'a "b", (c:1.2)\nsecond: line\n\u202eabc\u202c שלום 🎈'

_READ: list[Image.Image] = []
"""Pictures that sd-parsers has read: it remembers the last by its id(), which a new one may have after it is gone."""


def made(format: str, prompt: str, negative: str) -> tuple[bytes, dict[str, Any], Texts]:
    """A picture, its parameters and its texts."""
    params: dict[str, Any] = {"prompt": prompt, "negative_prompt": negative, "steps": 20, "seed": 7}
    params |= {"scheduler": "euler_a", "guidance_scale": 4.0, "width": 8, "height": 8}
    own = sdbatch_json("i", "r", params, "h", "f", "1")
    texts = Texts(parameters_text(params, "demo", "0123456789ab", "0.1.0"), own)
    return encode(np.zeros((8, 8, 3), np.uint8), format, None, texts), params, texts


def independent(data: bytes) -> tuple[str, str] | None:
    """Prompt and negative prompt as sd-parsers reads them; None where it finds nothing."""
    with Image.open(io.BytesIO(data)) as image:
        _READ.append(image)
        found = ParserManager().parse(image)
    if found is None:
        return None
    (sampler,) = found.samplers
    assert sampler.parameters == {"steps": "20", "seed": "7", "cfg_scale": "4"} and sampler.name == "Euler a"
    sides = [[prompt.value for prompt in side] for side in (sampler.prompts, sampler.negative_prompts)]
    return "".join(sides[0]), "".join(sides[1])


def survives(format: str, prompt: str, negative: str) -> None:
    """All that must hold of any prompt."""
    data, params, texts = made(format, prompt, negative)
    assert read_texts(data) == texts
    own = foreign.read({"sdbatch": texts.sdbatch, "parameters": texts.parameters})
    assert own is not None and own.params == params  # exact, whatever the prompt says
    if "Negative prompt:" in prompt + negative:
        return  # AUTOMATIC1111's text cannot tell it from its own line, and no reader can
    if format == "jpeg" and len(texts.parameters.encode("utf-16-be")) > 60_000:
        return  # an EXIF segment ends there; sdbatch's reader finds it behind that end
    assert independent(data) == (prompt.strip(), negative.strip())
    other = foreign.read({"parameters": texts.parameters})
    assert other is not None
    lines = [line.strip() for line in f"{prompt}".strip().split("\n")]
    assert other.params.get("prompt", "").strip() == "\n".join(lines).strip()


@pytest.mark.parametrize("format", FORMATS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(prompt=PROMPTS, negative=PROMPTS)
@example(prompt=ODD, negative=ODD)
@example(prompt="a\nNegative prompt: b", negative="c")
@example(prompt="", negative="x")
def test_any_prompt_comes_back(format: str, prompt: str, negative: str) -> None:
    survives(format, prompt, negative)


@pytest.mark.parametrize("format", FORMATS)
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(prompt=LONG, negative=st.sampled_from(["", ODD]))
def test_long_prompts_come_back(format: str, prompt: str, negative: str) -> None:
    survives(format, prompt, negative)


@pytest.mark.parametrize("format", FORMATS)
def test_a_line_like_the_formats_own_costs_other_readers_that_prompt_alone(format: str) -> None:
    data, _, _ = made(format, "a\nNegative prompt: b", "")
    assert independent(data) == ("a", "b")
    data, params, texts = made(format, "a\nNegative prompt: b", "c")
    with contextlib.suppress(ParserError, ValueError):  # it expects the words once
        independent(data)
    read = foreign.read({"sdbatch": texts.sdbatch})
    assert read is not None and read.params == params
