"""What a single file is, told from headers alone: no file here holds a weight."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdbatch.errors import ModelError
from sdbatch.sources import single_file
from sdbatch.sources.hashes import HashCache
from sdbatch.sources.models import EMBEDDED, Model, ModelSource
from sdbatch.sources.vocabulary import CONFIGS

UNET = "model.diffusion_model."
ATTENTION = UNET + "input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight"
VAE = {"first_stage_model.encoder.conv_in.weight": [1], "first_stage_model.decoder.conv_in.weight": [1]}
CLIP = {"cond_stage_model.transformer.text_model.final_layer_norm.weight": [768]}
OPEN_CLIP = {"cond_stage_model.model.ln_final.weight": [1024]}
XL = {"conditioner.embedders.0.transformer.text_model.x": [1], "conditioner.embedders.1.model.ln_final.weight": [1]}


def unet(channels: int, width: int) -> dict[str, list[int]]:
    return {UNET + "input_blocks.0.0.weight": [320, channels, 3, 3], ATTENTION: [640, width]}


def write(path: Path, shapes: Mapping[str, list[int]], metadata: Mapping[str, str] | None = None) -> Path:
    """A file that is all header: its weights are a hole."""
    tensors: dict[str, Any] = {}
    end = 0
    for key, shape in shapes.items():
        start, end = end, end + 2 * math.prod(shape)
        tensors[key] = {"dtype": "F16", "shape": shape, "data_offsets": [start, end]}
    if metadata:
        tensors["__metadata__"] = metadata
    head = json.dumps(tensors).encode()
    path.write_bytes(len(head).to_bytes(8, "little") + head)
    os.truncate(path, 8 + len(head) + end)
    return path


def resolve(tmp_path: Path, name: str = "model.safetensors") -> Model:
    return ModelSource(tmp_path, cache=HashCache(tmp_path / "cache")).resolve(name)


@pytest.mark.parametrize(
    ("shapes", "kind", "size", "config"),
    [
        ({**unet(4, 768), **VAE, **CLIP}, "sd", 512, "sd1"),
        ({**unet(9, 768), **VAE, **CLIP}, "sd-inpaint", 512, "sd1"),
        ({**unet(4, 1024), **VAE, **OPEN_CLIP}, "sd", 512, "sd2"),
        ({**unet(9, 1024), **VAE, **OPEN_CLIP}, "sd-inpaint", 512, "sd2"),
        ({**unet(4, 2048), **VAE, **XL}, "sdxl", 1024, "sdxl"),
        ({**unet(9, 2048), **VAE, **XL}, "sdxl-inpaint", 1024, "sdxl"),
    ],
)
def test_kinds(shapes: dict[str, list[int]], kind: str, size: int, config: str, tmp_path: Path) -> None:
    path = write(tmp_path / "model.safetensors", shapes)
    found = resolve(tmp_path)
    assert (found.kind, found.size, found.layout) == (kind, (size, size), "single-file")
    assert found.hash == HashCache(tmp_path / "cache").sha256(path), "what other tools call the model's hash"
    told = single_file.read("model", path)
    assert (told.config, told.prediction) == (CONFIGS / config, None)
    assert told.channels == shapes[UNET + "input_blocks.0.0.weight"][1]


@pytest.mark.parametrize(
    ("metadata", "prediction", "size"),
    [
        ({"modelspec.prediction_type": "v", "modelspec.resolution": "768x768"}, "v_prediction", (768, 768)),
        ({"modelspec.prediction_type": "epsilon", "modelspec.resolution": "512x640"}, "epsilon", (512, 640)),
        ({"modelspec.architecture": "stable-diffusion-v2-768-v"}, "v_prediction", (768, 768)),
        ({"modelspec.architecture": "stable-diffusion-v2-512"}, None, (512, 512)),
        ({"modelspec.resolution": "large"}, None, (512, 512)),
    ],
)
def test_what_the_file_says_of_itself(
    metadata: dict[str, str], prediction: str | None, size: tuple[int, int], tmp_path: Path
) -> None:
    found = single_file.read("m", write(tmp_path / "m.safetensors", {**unet(4, 1024), **VAE, **OPEN_CLIP}, metadata))
    assert (found.prediction, found.size) == (prediction, size)


def test_the_empty_tensor_that_says_v_prediction(tmp_path: Path) -> None:
    shapes = {**unet(4, 2048), **VAE, **XL, "v_pred": []}
    assert single_file.read("m", write(tmp_path / "m.safetensors", shapes)).prediction == "v_prediction"


@pytest.mark.parametrize(
    ("shapes", "says"),
    [
        (
            {**unet(5, 1024), **VAE, **OPEN_CLIP},
            r"of kind 'sd-depth' and of a shape whose configuration is not shipped",
        ),
        ({**unet(7, 1024), **VAE, **OPEN_CLIP}, r"of kind 'sd-upscale'.*use its diffusers folder, or put one without"),
        ({**unet(4, 320), **VAE, **CLIP}, r"of kind 'sd' and of a shape .* at .*/model\.config"),
        ({**unet(4, 1280), **VAE, "conditioner.embedders.0.model.ln_final.weight": [1]}, "of kind 'sdxl-refiner'"),
        ({**unet(4, 768), **CLIP}, "holds no VAE; a whole checkpoint is needed"),
        ({**unet(4, 768), **VAE}, "holds no text encoder; a whole checkpoint is needed"),
        ({"lora_unet_down_blocks_0.lora_down.weight": [4, 4]}, "is a LoRA, not a checkpoint"),
        ({"unet.x.lora_A.weight": [4, 4]}, "is a LoRA, not a checkpoint"),
        ({"emb_params": [4, 768]}, "is a textual inversion embedding, not a checkpoint"),
        ({"control_model.input_blocks.0.0.weight": [4]}, "is a ControlNet in the original layout; use its diffusers"),
        ({"double_blocks.0.img_attn.qkv.weight": [4]}, "is a Flux model, not a checkpoint"),
        ({"down_blocks.0.resnets.0.conv1.weight": [4]}, "is one part of a diffusers folder; use the folder"),
        ({UNET + "input_blocks.0.0.weight": [320]}, "is no checkpoint of Stable Diffusion"),
        ({"x": [1]}, "is no checkpoint of Stable Diffusion in the original layout"),
        ({}, "is no checkpoint of Stable Diffusion"),
    ],
)
def test_what_is_not_read_is_said(shapes: dict[str, list[int]], says: str, tmp_path: Path) -> None:
    write(tmp_path / "model.safetensors", shapes)
    with pytest.raises(ModelError, match=says):
        resolve(tmp_path)


@pytest.mark.parametrize("prefix", ["", "first_stage_model."])
def test_a_lone_vae(prefix: str, tmp_path: Path) -> None:
    shapes = {key.replace("first_stage_model.", prefix): shape for key, shape in VAE.items()}
    path = write(tmp_path / "model.safetensors", shapes)
    assert (resolve(tmp_path).kind, resolve(tmp_path).size) == ("vae", (0, 0))
    assert single_file.read("m", path).config == CONFIGS / "sd1" / "vae"
    write(path, shapes, {"modelspec.architecture": "stable-diffusion-xl-v1-base/vae"})
    assert single_file.read("m", path).config == CONFIGS / "sdxl" / "vae"


def test_a_folder_beside_the_file_comes_first(tmp_path: Path) -> None:
    path = write(tmp_path / "model.safetensors", {**unet(4, 128), **VAE, **CLIP})
    weightless = shutil.ignore_patterns("*.safetensors")
    beside = shutil.copytree(EMBEDDED / "demo", tmp_path / "model.config", ignore=weightless)
    found = resolve(tmp_path)
    assert (found.kind, found.size) == ("sd", (64, 64))
    assert single_file.read("m", path).config == beside
    assert found.hash != HashCache(tmp_path / "cache").sha256(path)
    scheduler = beside / "scheduler" / "scheduler_config.json"
    scheduler.write_text(scheduler.read_text(encoding="utf-8").replace("v_prediction", "epsilon"), encoding="utf-8")
    assert resolve(tmp_path).hash != found.hash, "its numbers decide pixels"


@pytest.mark.parametrize(
    ("entry", "size", "says"),
    [
        ({"dtype": "F16", "shape": [4], "data_offsets": [0, 8]}, 7, "torn: it ends before 'x' does"),
        ({"dtype": "F16", "shape": [4], "data_offsets": [0, 6]}, 8, "its header contradicts itself about 'x'"),
        ({"dtype": "F16", "shape": [-4], "data_offsets": [8, 0]}, 8, "its header contradicts itself about 'x'"),
        ({"dtype": "float", "shape": [4], "data_offsets": [0, 8]}, 8, "its header does not describe 'x'"),
        ({"dtype": "F16", "data_offsets": [0, 8]}, 8, "its header does not describe 'x'"),
    ],
)
def test_a_header_that_lies(entry: dict[str, Any], size: int, says: str, tmp_path: Path) -> None:
    head = json.dumps({"x": entry}).encode()
    (tmp_path / "model.safetensors").write_bytes(len(head).to_bytes(8, "little") + head + bytes(size))
    with pytest.raises(ModelError, match=f"^model 'model.safetensors': .*model.safetensors: .*{says}"):
        resolve(tmp_path)


@pytest.mark.parametrize("length", [0, 5, 2**40, 2**63])
def test_a_header_of_any_length_is_no_bug(length: int, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(length.to_bytes(8, "little") + b"PK\x03\x04 a zip, say")
    with pytest.raises(ModelError, match="not a safetensors file"):
        resolve(tmp_path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
TENSOR = st.fixed_dictionaries({"shape": JSON, "data_offsets": JSON}) | JSON


@given(st.binary(max_size=40) | st.dictionaries(st.just("__metadata__") | st.text(max_size=9), TENSOR).map(json.dumps))
def test_whatever_else_a_file_holds_is_a_model_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes | str
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.safetensors"
    data = content if isinstance(content, bytes) else content.encode()
    path.write_bytes(len(data).to_bytes(8, "little") + data)
    with pytest.raises(ModelError, match=r"^model 'm': "):
        single_file.read("m", path)
