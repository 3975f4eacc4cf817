"""Components as found are those that the libraries' own loading gives, and nothing else is loaded."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch

from sdbatch.errors import ModelError
from sdbatch.render.checkpoints import components
from sdbatch.sources.hashes import HashCache
from sdbatch.sources.models import EMBEDDED, Model, ModelSource

LOCAL: dict[str, Any] = {"use_safetensors": True, "local_files_only": True}
FULL: dict[str, Any] = {**LOCAL, "torch_dtype": torch.float32}


def resolve(path: Path | str) -> Model:
    return ModelSource(Path.cwd(), cache=HashCache()).resolve(str(path))


def pipeline(name: str, path: Path | str, dtype: torch.dtype = torch.float32, **options: Any) -> Any:
    """A pipeline over our components, as the renderer builds one."""
    pipe = getattr(diffusers, name)(**components(resolve(path), dtype), **options)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def pixels(pipe: Any, **options: Any) -> str:
    """Hash of a picture."""
    call: dict[str, Any] = {"prompt": "a small red circle", "num_inference_steps": 4, "output_type": "np", **options}
    picture = pipe(generator=torch.Generator().manual_seed(3), **call).images[0]
    assert np.isfinite(picture).all() and picture.std() > 0
    return hashlib.sha256(picture.tobytes()).hexdigest()


@pytest.fixture(scope="module")
def folders(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    home = tmp_path_factory.mktemp("tiny")
    return {
        "sd": tiny.sd(home / "sd"),
        "sd-inpaint": tiny.sd(home / "sd-inpaint", channels=9),
        "sdxl": tiny.sdxl(home / "sdxl"),
        "sdxl-inpaint": tiny.sdxl(home / "sdxl-inpaint", channels=9),
        "sd-latent-upscale": tiny.latent_upscaler(home / "latent"),
    }


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_components_are_those_of_from_pretrained(dtype: torch.dtype) -> None:
    theirs = diffusers.StableDiffusionPipeline.from_pretrained(
        str(EMBEDDED / "demo"), safety_checker=None, requires_safety_checker=False, torch_dtype=dtype, **LOCAL
    )
    ours = components(resolve("demo"), dtype)
    assert sorted(ours) == ["scheduler", "text_encoder", "tokenizer", "unet", "vae"]
    for part in ("unet", "vae", "text_encoder"):
        wanted, found = getattr(theirs, part).state_dict(), ours[part].state_dict()
        assert list(wanted) == list(found)
        for name, tensor in wanted.items():
            assert tensor.dtype == found[name].dtype and torch.equal(tensor, found[name]), name
        assert ours[part].training is False
        assert type(ours[part]) is type(getattr(theirs, part))
    assert ours["scheduler"].config == theirs.scheduler.config
    text = ["a small red circle", "Ünïcode 漢字 !"]
    assert ours["tokenizer"](text)["input_ids"] == theirs.tokenizer(text)["input_ids"]


def test_the_pictures_are_those_of_from_pretrained() -> None:
    theirs = diffusers.StableDiffusionPipeline.from_pretrained(
        str(EMBEDDED / "demo"), safety_checker=None, requires_safety_checker=False, **FULL
    )
    theirs.set_progress_bar_config(disable=True)
    ours = pipeline("StableDiffusionPipeline", "demo", safety_checker=None, feature_extractor=None)
    assert pixels(ours) == pixels(theirs)


@pytest.mark.parametrize(
    ("kind", "name"),
    [("sdxl", "StableDiffusionXLPipeline"), ("sd-latent-upscale", "StableDiffusionLatentUpscalePipeline")],
)
def test_other_pipelines_give_the_pictures_of_from_pretrained(kind: str, name: str, folders: dict[str, Path]) -> None:
    path = folders[kind]
    found = resolve(path)
    assert (found.kind, found.size) == (kind, (16, 16))
    extra: dict[str, Any] = {"add_watermarker": False} if kind == "sdxl" else {}
    theirs = getattr(diffusers, name).from_pretrained(str(path), **extra, **FULL)
    theirs.set_progress_bar_config(disable=True)
    image = {} if kind == "sdxl" else {"image": torch.zeros(1, 3, 16, 16)}
    assert pixels(pipeline(name, path, **extra), **image) == pixels(theirs, **image)


@pytest.mark.parametrize("kind", ["sd", "sd-inpaint", "sdxl", "sdxl-inpaint", "sd-latent-upscale"])
def test_kinds_of_real_folders(kind: str, folders: dict[str, Path]) -> None:
    assert resolve(folders[kind]).kind == kind


def test_an_sdxl_folder_has_two_encoders(folders: dict[str, Path]) -> None:
    found = components(resolve(folders["sdxl"]), torch.float16)
    assert {"text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2"} <= set(found)
    assert found["unet"].dtype == found["text_encoder_2"].dtype == torch.float16


def test_a_folder_of_fp16_files_only(folders: dict[str, Path], tmp_path: Path) -> None:
    path = shutil.copytree(folders["sd"], tmp_path / "model")
    plain = components(resolve(path), torch.float32)["unet"].state_dict()
    for file in path.rglob("*.safetensors"):
        file.rename(file.with_suffix(".fp16.safetensors"))
    (path / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"a pickle that lies beside is not read")
    found = components(resolve(path), torch.float32)["unet"].state_dict()
    assert all(torch.equal(plain[name], found[name]) for name in plain)


def test_sharded_weights(folders: dict[str, Path], tmp_path: Path) -> None:
    path = shutil.copytree(folders["sd"], tmp_path / "model")
    plain = components(resolve(path), torch.float32)
    before = resolve(path).hash
    for part in ("unet", "text_encoder"):
        for file in (path / part).glob("*.safetensors"):
            file.unlink()
        plain[part].save_pretrained(str(path / part), max_shard_size="100KB")
        assert len(list((path / part).glob("*-of-*.safetensors"))) > 1
    found = components(resolve(path), torch.float32)
    for part in ("unet", "text_encoder"):
        wanted = plain[part].state_dict()
        assert all(torch.equal(wanted[name], tensor) for name, tensor in found[part].state_dict().items())
    sharded = resolve(path).hash
    assert sharded != before
    next((path / "unet").glob("*-00002-of-*.safetensors")).write_bytes(b"another")
    assert resolve(path).hash not in (before, sharded)


def test_a_lone_controlnet_and_a_lone_vae(folders: dict[str, Path], tmp_path: Path) -> None:
    torch.manual_seed(0)
    unet = components(resolve(folders["sd"]), torch.float32)["unet"]
    diffusers.ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(8, 16)).save_pretrained(
        str(tmp_path / "control")
    )
    found = resolve(tmp_path / "control")
    assert (found.kind, found.layout, found.size) == ("controlnet", "part", (0, 0))
    loaded = components(found, torch.float16)
    assert list(loaded) == ["controlnet"] and isinstance(loaded["controlnet"], diffusers.ControlNetModel)
    vae = resolve(folders["sd"] / "vae")
    assert (vae.kind, vae.layout) == ("vae", "part")
    assert isinstance(components(vae, torch.float32)["vae"], diffusers.AutoencoderKL)


def test_a_depth_estimator_and_its_processor(tmp_path: Path, folders: dict[str, Path]) -> None:
    import transformers
    from transformers import DPTImageProcessorPil

    path = shutil.copytree(folders["sd"], tmp_path / "depth")
    config = transformers.DPTConfig(
        hidden_size=16, num_hidden_layers=4, num_attention_heads=2, intermediate_size=16, image_size=32, patch_size=8,
        backbone_out_indices=[0, 1, 2, 3], neck_hidden_sizes=[4, 4, 8, 8], fusion_hidden_size=8, is_hybrid=False,
    )  # fmt: skip
    transformers.DPTForDepthEstimation(config).save_pretrained(str(path / "depth_estimator"))
    DPTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(str(path / "feature_extractor"))
    index = json.loads((path / "model_index.json").read_text(encoding="utf-8"))
    index["depth_estimator"] = ["transformers", "DPTForDepthEstimation"]
    index["feature_extractor"] = ["transformers", "DPTImageProcessor"]
    (path / "model_index.json").write_text(json.dumps(index), encoding="utf-8")
    before = resolve(path).hash
    found = components(resolve(path), torch.float32)
    assert isinstance(found["depth_estimator"], transformers.DPTForDepthEstimation)
    assert isinstance(found["feature_extractor"], DPTImageProcessorPil)
    (path / "feature_extractor" / "preprocessor_config.json").write_text("{}", encoding="utf-8")
    assert resolve(path).hash != before, "what the estimator sees decides pixels"


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (["my_pipeline", "UNet"], r"asks for unet of my_pipeline\.UNet; only classes of diffusers and transformers"),
        (["os", "system"], "only classes of diffusers and transformers are loaded, never a model's own code"),
        (["diffusers", "utils"], r"unet is of diffusers\.utils, which is no part of a model here"),
        (["diffusers", "StableDiffusionPipeline"], "no part of a model here"),
        (["diffusers", "NoSuchModel"], "no part of a model here"),
        (["diffusers", "AutoencoderKL"], "unet cannot be loaded as AutoencoderKL"),
    ],
)
def test_no_other_class_is_loaded(value: list[str], says: str, folders: dict[str, Path], tmp_path: Path) -> None:
    path = shutil.copytree(folders["sd"], tmp_path / "model")
    index = json.loads((path / "model_index.json").read_text(encoding="utf-8"))
    (path / "model_index.json").write_text(json.dumps({**index, "unet": value}), encoding="utf-8")
    with pytest.raises(ModelError, match=says) as caught:
        components(resolve(path), torch.float32)
    assert "\n" not in str(caught.value)


def test_a_part_that_is_only_a_pickle_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    path = shutil.copytree(folders["sd"], tmp_path / "model")
    weights = path / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(ModelError, match=r"unet is there only as diffusion_pytorch_model\.bin.*models convert"):
        components(resolve(path), torch.float32)


@pytest.mark.parametrize(
    ("part", "file", "class_name"),
    [
        ("vae", "diffusion_pytorch_model.safetensors", "AutoencoderKL"),
        ("unet", "diffusion_pytorch_model.safetensors", "UNet2DConditionModel"),
        ("text_encoder", "model.safetensors", "CLIPTextModel"),
    ],
)
@pytest.mark.parametrize("keep", [0, 4, 1000, -1])
def test_a_part_whose_weights_are_broken_is_refused(
    part: str, file: str, class_name: str, keep: int, folders: dict[str, Path], tmp_path: Path
) -> None:
    path = shutil.copytree(folders["sd"], tmp_path / "model")
    weights = path / part / file
    weights.write_bytes(weights.read_bytes()[:keep])
    with pytest.raises(ModelError, match=f"{part} cannot be loaded as {class_name}: .") as caught:
        components(resolve(path), torch.float32)
    assert "\n" not in str(caught.value)
