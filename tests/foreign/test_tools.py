"""sdbatch's own JSON, SwarmUI's and InvokeAI's."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdbatch import foreign
from sdbatch.foreign import KEYS, Found
from sdbatch.store.metadata import sdbatch_json

PARAMS: dict[str, Any] = {
    "mode": "inpaint", "prompt": 'a\n"b" 🎈', "seed": 3, "steps": 7, "guidance_scale": 4.5, "image": "a.png",
    "mask": {"invert": [0, 0, 8, 8]}, "loras": [{"name": "x", "weight": 0.5}], "width": 64, "height": 64,
}  # fmt: skip


def read(**texts: Any) -> Found:
    given = {key.replace("__", "-"): text if isinstance(text, str) else json.dumps(text) for key, text in texts.items()}
    found = foreign.read(given)
    assert found is not None
    return found


def test_own_metadata_are_the_row_exactly() -> None:
    found = read(
        sdbatch=sdbatch_json("i", "r", PARAMS, "h", "f", "0.1.0"), parameters="x\nSteps: 1, Seed: 1, Size: 8x8"
    )
    own = {"id": "i", "row": "r", "model_hash": "h", "fingerprint": "f", "version": "0.1.0"}
    assert found == Found("sdbatch", PARAMS, {}, "", own)


def test_own_metadata_are_checked_like_anybodys() -> None:
    content = json.loads(sdbatch_json("i", "r", PARAMS, "h", "f", "1")) | {"later": 1}
    content["params"] |= {"seed": -1, "steps": "7; rm -rf", "prompt": 5, "newer": [1], "eta": float("nan")}
    found = read(sdbatch=content)
    assert found.unmapped.keys() == {"seed", "steps", "prompt", "newer", "eta", "later"}
    assert not {"seed", "steps", "prompt", "newer", "eta"} & found.params.keys()


@pytest.mark.parametrize("damage", ["{", "[]", '{"schema":2,"params":{}}', '{"schema":1,"params":[]}', "[" * 10**5])
def test_damaged_own_metadata_are_said_and_others_taken(damage: str) -> None:
    found = read(sdbatch=damage, parameters="x\nSteps: 1, Seed: 1, Size: 8x8")
    assert found.tool == "a1111" and "damaged" in found.unmapped["sdbatch"]
    assert foreign.read({"sdbatch": damage}) is None


def test_swarmui() -> None:
    params = {
        "prompt": "a cat", "negativeprompt": "bad", "model": "dream", "seed": 4, "steps": 20, "cfgscale": 7,
        "width": 512, "height": 512, "sampler": "euler_ancestral", "scheduler": "normal", "swarm_version": "0.9",
        "loras": ["a/soft"], "loraweights": ["0.5"], "clipstopatlayer": -2, "refinerupscale": 2, "aspectratio": "1:1",
    }  # fmt: skip
    found = read(parameters={"sui_image_params": params, "sui_extra_data": {"date": "x"}})
    assert found == Found(
        "swarmui",
        {
            "prompt": "a cat", "negative_prompt": "bad", "seed": 4, "steps": 20, "guidance_scale": 7.0, "width": 512,
            "height": 512, "scheduler": "euler_a", "clip_skip": 1, "loras": [{"name": "soft", "weight": 0.5}],
        },
        {"refinerupscale": "2"},
        "dream",
    )  # fmt: skip
    older = read(
        parameters={"sui_image_params": {"seed": 1, "loras": "a,b", "loraweights": "0.5", "initimagecreativity": 0.4}}
    )
    assert older.params["loras"] == [{"name": "a", "weight": 0.5}, {"name": "b", "weight": 1.0}]
    assert "initimage" in older.unmapped


def test_invokeai() -> None:
    content = {
        "generation_mode": "txt2img", "positive_prompt": "a (cat)1.2", "negative_prompt": "", "width": 512,
        "height": 640, "seed": 9, "rand_device": "cpu", "cfg_scale": 7.5, "steps": 30, "scheduler": "dpmpp_2m_k",
        "clip_skip": 0, "model": {"key": "k", "name": "dream"}, "loras": [{"model": {"name": "soft"}, "weight": 0.75}],
        "vae": {"name": "v"}, "controlnets": [], "app_version": "4.2.0",
    }  # fmt: skip
    found = read(invokeai_metadata=content)
    assert found == Found(
        "invokeai",
        {
            "prompt": "a (cat)1.2", "negative_prompt": "", "width": 512, "height": 640, "seed": 9, "steps": 30,
            "guidance_scale": 7.5, "scheduler": "dpmpp_2m", "sigmas": "karras", "prompt_syntax": "plain",
            "loras": [{"name": "soft", "weight": 0.75}],
        },
        {"vae": '{"name": "v"}', "weights in the prompt": "are read as plain text"},
        "dream",
    )  # fmt: skip
    other = read(
        invokeai_metadata={"seed": 1, "generation_mode": "img2img", "rand_device": "cuda", "scheduler": "unipc"}
    )
    assert other.unmapped.keys() == {"generation_mode", "rand_device"}


def test_invokeai_of_old() -> None:
    image = {
        "prompt": [{"prompt": "a cat [blurry, dark]", "weight": 1}], "steps": 50, "cfg_scale": 7.5, "width": 512,
        "height": 512, "seed": 3, "type": "txt2img", "sampler": "k_euler_a", "threshold": 0, "perlin": 0.1,
    }  # fmt: skip
    found = read(sd__metadata={"model_weights": "sd-1.5", "app_version": "2.3", "image": image})
    assert found.model == "sd-1.5" and found.unmapped == {"perlin": "0.1"}
    assert found.params["prompt"] == "a cat" and found.params["negative_prompt"] == "blurry, dark"
    assert found.params["scheduler"] == "euler_a"


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
NAMES = st.sampled_from(
    "prompt negativeprompt positive_prompt negative_prompt seed steps sampler scheduler model loras loraweights width "
    "clip_skip clipstopatlayer type generation_mode mask image mode strength rand_device".split()
)


@given(st.dictionaries(NAMES, JUNK, max_size=6), st.sampled_from(KEYS))
def test_any_values_are_read_and_what_is_kept_can_be_stored(values: dict[str, Any], key: str) -> None:
    for content in (values, {"sui_image_params": values}, {"image": values}, {"schema": 1, "params": values}):
        found = foreign.read({key: json.dumps(content)})
        if found is not None:
            json.dumps(dict(found.params), allow_nan=False).encode()
            assert all(text.isprintable() and len(text) <= 800 for pair in found.unmapped.items() for text in pair)


def test_nothing_that_is_listed_can_play_with_a_terminal() -> None:
    found = read(invokeai_metadata={"seed": 1, "x\x1b[2J\n": "\x1b]0;title\x07" + "y" * 1000})
    ((key, value),) = found.unmapped.items()
    assert key == "x\\x1b[2J\\n" and value.startswith("\\x1b]0;title\\x07y") and len(value) < 120


def test_halves_of_letters_become_question_marks() -> None:
    found = read(invokeai_metadata='{"positive_prompt": "a\\ud83d", "loras": [{"lora": {"name": "\\ud800"}}]}')
    assert found.params["prompt"] == "a?" and found.params["loras"][0]["name"] == "?"
