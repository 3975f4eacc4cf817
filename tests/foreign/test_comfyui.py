"""ComfyUI's graphs."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from sdbatch import foreign
from sdbatch.foreign import Found

Graph = dict[str, Any]


def node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


def graph(**changes: Any) -> Graph:
    sampler = {
        "seed": 5, "steps": 30, "cfg": 7.5, "sampler_name": "dpmpp_2m", "scheduler": "karras", "denoise": 1.0,
        "model": ["4", 0], "positive": ["6", 0], "negative": ["7", 0], "latent_image": ["5", 0],
    }  # fmt: skip
    return {
        "3": node("KSampler", **{**sampler, **changes}),
        "4": node("CheckpointLoaderSimple", ckpt_name="sd15/dream.safetensors"),
        "5": node("EmptyLatentImage", width=512, height=768, batch_size=1),
        "6": node("CLIPTextEncode", text="a cat", clip=["4", 1]),
        "7": node("CLIPTextEncode", text="bad", clip=["4", 1]),
        "8": node("VAEDecode", samples=["3", 0], vae=["4", 2]),
        "9": node("SaveImage", images=["8", 0], filename_prefix="x"),
    }


def read(content: Graph) -> Found:
    found = foreign.read({"prompt": json.dumps(content)})
    assert found is not None and found.tool == "comfyui"
    return found


PLAIN = {
    "prompt": "a cat", "negative_prompt": "bad", "seed": 5, "steps": 30, "guidance_scale": 7.5,
    "scheduler": "dpmpp_2m", "sigmas": "karras", "width": 512, "height": 768,
}  # fmt: skip


def test_the_default_graph() -> None:
    assert read(graph()) == Found("comfyui", PLAIN, {}, "sd15/dream.safetensors")


def test_nodes_between() -> None:
    content = graph(model=["10", 0], positive=["20", 0], seed=["30", 0])
    content["10"] = node(
        "LoraLoader", lora_name="a\\soft.safetensors", strength_model=0.6, strength_clip=0.4, model=["11", 0]
    )
    content["11"] = node("LoraLoaderModelOnly", lora_name="hard.safetensors", strength_model=1, model=["12", 0])
    content["12"] = node("FreeU", b1=1.3, model=["4", 0])
    between = {"positive": ["6", 0], "negative": ["7", 0], "control_net": ["21", 0], "image": ["22", 0]}
    content["20"] = node("ControlNetApplyAdvanced", **between, strength=0.8, start_percent=0.0, end_percent=0.5)
    content["21"] = node("ControlNetLoader", control_net_name="depth.safetensors")
    content["22"] = node("LoadImage", image="room.png")
    content["6"] = node("CLIPTextEncode", text=["31", 0], clip=["32", 0])
    content["30"], content["31"] = node("PrimitiveInt", value=77), node("StringNode", string="a dog")
    content["32"] = node("CLIPSetLastLayer", stop_at_clip_layer=-2, clip=["4", 1])
    found = read(content)
    more = {"control_scale": 0.8, "control_start": 0.0, "control_end": 0.5, "clip_skip": 1}
    loras = [{"name": "hard", "weight": 1}, {"name": "soft", "weight": 0.6}]
    assert found.params == {**PLAIN, **more, "seed": 77, "prompt": "a dog", "loras": loras}
    assert found.unmapped == {
        "ControlNetLoader 21": "depth.safetensors",
        "LoadImage 22": "room.png",
        "LoraLoader 10.strength_clip": "0.4",
        "FreeU 12": '{"b1": 1.3}',
    }


def test_the_first_of_two_passes_is_the_row() -> None:
    content = {"1": node("KSampler", **graph(latent_image=["2", 0], seed=9, denoise=0.5)["3"]["inputs"]), **graph()}
    content["2"] = node("LatentUpscale", samples=["3", 0], width=1024, height=1024)
    found = read(content)
    assert found.params == PLAIN
    assert found.unmapped == {"KSampler 1": "another sampler; a row is one"}


def test_advanced_samplers_and_batches() -> None:
    content = graph(noise_seed=8, end_at_step=20, add_noise="enable", start_at_step=0)
    del content["3"]["inputs"]["seed"]
    content["3"]["class_type"] = "KSamplerAdvanced"
    content["5"]["inputs"]["batch_size"] = 4
    found = read(content)
    assert found.params["seed"] == 8
    assert found.unmapped.keys() == {"KSamplerAdvanced.end_at_step", "EmptyLatentImage.batch_size"}


def test_a_picture_that_begins_with_another() -> None:
    content = graph(denoise=0.6, latent_image=["40", 0])
    content["40"] = node("VAEEncode", pixels=["41", 0], vae=["4", 2])
    content["41"] = node("LoadImage", image="in.png")
    found = read(content)
    assert found.params["strength"] == 0.6 and "width" not in found.params
    assert found.unmapped["LoadImage 41"] == "in.png"


def test_what_has_no_place() -> None:
    found = read(graph(seed=2**64 - 1, sampler_name="dpmpp_2s_ancestral", scheduler="sgm_uniform"))
    assert not {"seed", "scheduler", "sigmas"} & found.params.keys()
    assert found.unmapped.keys() == {"KSampler.seed", "KSampler.sampler_name", "KSampler.scheduler"}
    assert "KSampler.sampler_name noise" in read(graph(sampler_name="dpmpp_sde_gpu")).unmapped
    found = read({"1": node("SamplerCustomAdvanced"), "2": node("SaveImage")})
    assert not found.params and "SamplerCustomAdvanced, SaveImage" in found.unmapped["KSampler"]


def test_cycles_end() -> None:
    content = graph(model=["10", 0], positive=["11", 0], seed=["12", 0], latent_image=["3", 0])
    content["10"] = node("LoraLoader", lora_name="x", model=["10", 0])
    content["11"] = node("ConditioningCombine", conditioning_1=["11", 0])
    content["12"], content["13"] = node("Int", value=["13", 0]), node("Int", value=["12", 0])
    found = read(content)
    assert found.params["loras"] == [{"name": "x", "weight": 1.0}]
    assert {"KSampler.positive", "KSampler.seed"} <= found.unmapped.keys()


def test_nan_huge_numbers_and_depth() -> None:
    # ComfyUI itself writes NaN, as a node's `is_changed`.
    text = json.dumps(graph())[:-1] + ', "50": {"class_type": "X", "inputs": {}, "is_changed": [NaN]}}'
    found = foreign.read({"prompt": text})
    assert found is not None and found.params == PLAIN
    assert "KSampler.cfg" in read(graph(cfg=float("nan"))).unmapped
    assert "KSampler.cfg" in read(graph(cfg=float("inf"))).unmapped
    assert "KSampler.steps" in read(graph(steps=10**4000)).unmapped
    for deep in ("[" * 100_000, '{"a":' * 100_000, '{"a":' * 60 + "1" + "}" * 60):
        assert foreign.read({"prompt": deep}) is None


JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.just(["3", 0])
    | st.just(["6", 0]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=200)
@given(st.data())
def test_any_value_anywhere_is_read(data: st.DataObject) -> None:
    content = graph()
    for _ in range(3):
        id = data.draw(st.sampled_from(sorted(content)))
        name = data.draw(st.sampled_from([*sorted(content[id]["inputs"]), "text", "samples", "model"]))
        content[id]["inputs"][name] = data.draw(JUNK)
    json.dumps(dict(read(content).params), allow_nan=False)
