"""Checkpoints in the original layout: the same components, and so the same pictures, as the folder's."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
import transformers

from sdbatch.errors import ModelError
from sdbatch.render.checkpoints import components
from sdbatch.sources import layouts, vocabulary
from sdbatch.sources.hashes import HashCache
from sdbatch.sources.models import EMBEDDED, Model, ModelSource

CLIP, OPEN_CLIP = "cond_stage_model.transformer.", "cond_stage_model.model."
XL = {"text_encoder": "conditioner.embedders.0.transformer.", "text_encoder_2": "conditioner.embedders.1.model."}


def resolve(path: Path) -> Model:
    return ModelSource(Path.cwd(), cache=HashCache()).resolve(str(path))


def write(original: Any, folder: Path, path: Path, texts: dict[str, str], dtype: torch.dtype = torch.float32) -> Path:
    """A folder's model as one file at `path`, its configurations beside it."""
    found = components(resolve(folder), dtype)
    encoders = {prefix: found[part] for part, prefix in texts.items()}
    original.save(path, original.checkpoint(found["unet"], found["vae"], encoders))
    weightless = shutil.ignore_patterns("*.safetensors")
    shutil.copytree(folder, path.with_name(path.stem + ".config"), ignore=weightless)
    return path


def assert_same(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    assert set(ours) == set(theirs)
    for part, wanted in theirs.items():
        if isinstance(wanted, torch.nn.Module):
            found = ours[part].state_dict()
            assert list(found) == list(wanted.state_dict())
            for key, tensor in wanted.state_dict().items():
                assert tensor.dtype == found[key].dtype and torch.equal(tensor, found[key]), (part, key)
            assert ours[part].training is False


def test_the_demo_model_as_one_file_gives_its_pictures(original: Any, tmp_path: Path) -> None:
    # As the folder holds it: float16, rendered as float32.
    path = write(original, EMBEDDED / "demo", tmp_path / "one.safetensors", {"text_encoder": CLIP}, torch.float16)
    model = resolve(path)
    assert (model.kind, model.layout, model.size, dict(model.parts)) == ("sd", "single-file", (64, 64), {})
    found, wanted = components(model, torch.float32), components(resolve(EMBEDDED / "demo"), torch.float32)
    assert_same(found, wanted)
    pictures = []
    for parts in (found, wanted):
        pipe = diffusers.StableDiffusionPipeline(**parts, safety_checker=None, feature_extractor=None)
        pipe.set_progress_bar_config(disable=True)
        call = {"prompt": "a small red circle", "num_inference_steps": 4, "output_type": "np"}
        pictures.append(pipe(generator=torch.Generator().manual_seed(1), **call).images)
    assert np.array_equal(*pictures) and pictures[0].std() > 0


def test_an_open_clip_text_encoder(original: Any, tiny: Any, tmp_path: Path) -> None:
    folder = tiny.sd(tmp_path / "sd", channels=9)
    path = write(original, folder, tmp_path / "one.safetensors", {"text_encoder": OPEN_CLIP})
    assert resolve(path).kind == "sd-inpaint"
    assert_same(components(resolve(path), torch.float32), components(resolve(folder), torch.float32))


def test_sdxl_with_two_text_encoders(original: Any, tiny: Any, tmp_path: Path) -> None:
    folder = tiny.sdxl(tmp_path / "sdxl")
    path = write(original, folder, tmp_path / "one.safetensors", XL)
    assert resolve(path).kind == "sdxl"
    found = components(resolve(path), torch.float32)
    assert_same(found, components(resolve(folder), torch.float32))
    diffusers.StableDiffusionXLPipeline(**found, add_watermarker=False)


def test_a_vae_in_a_file_of_its_own(original: Any, tiny: Any, tmp_path: Path) -> None:
    folder = tiny.sd(tmp_path / "sd") / "vae"
    vae = components(resolve(folder), torch.float32)
    path = original.save(tmp_path / "vae.safetensors", original.vae_state(vae["vae"], ""))
    (tmp_path / "vae.config").mkdir()
    shutil.copy(folder / "config.json", tmp_path / "vae.config")
    assert (resolve(path).kind, resolve(path).layout) == ("vae", "single-file")
    assert_same(components(resolve(path), torch.float32), vae)


def test_a_checkpoint_that_lacks_weights_is_refused(original: Any, tiny: Any, tmp_path: Path) -> None:
    path = write(original, tiny.sd(tmp_path / "sd"), tmp_path / "one.safetensors", {"text_encoder": CLIP})
    from safetensors.torch import load_file

    state = load_file(str(path))
    for part, key in (
        ("unet", "model.diffusion_model.out.2.bias"),
        ("vae", "first_stage_model.decoder.conv_out.bias"),
        ("text_encoder", CLIP + "text_model.final_layer_norm.weight"),
    ):
        less = original.save(path, {name: tensor for name, tensor in state.items() if name != key})
        with pytest.raises(ModelError, match=f"lacks weights of its {part}"):
            components(resolve(less), torch.float32)


def test_a_file_with_bytes_of_nothing_is_refused(original: Any, tiny: Any, tmp_path: Path) -> None:
    """Its header says nothing wrong of any one tensor; the library refuses the whole."""
    path = write(original, tiny.sd(tmp_path / "sd"), tmp_path / "one.safetensors", {"text_encoder": CLIP})
    with path.open("ab") as file:
        file.write(b"more")
    with pytest.raises(ModelError, match=r"one\.safetensors is no whole safetensors file: .") as caught:
        components(resolve(path), torch.float32)
    assert "\n" not in str(caught.value)


def test_a_configuration_that_does_not_fit_is_refused(original: Any, tiny: Any, tmp_path: Path) -> None:
    path = write(original, tiny.sd(tmp_path / "sd"), tmp_path / "one.safetensors", {"text_encoder": CLIP})
    shutil.rmtree(tmp_path / "one.config")
    weightless = shutil.ignore_patterns("*.safetensors")
    shutil.copytree(EMBEDDED / "demo", tmp_path / "one.config", ignore=weightless)
    with pytest.raises(ModelError, match="cannot be loaded as") as caught:
        components(resolve(path), torch.float32)
    assert "\n" not in str(caught.value)


NETWORKS = {"unet": "UNet2DConditionModel", "vae": "AutoencoderKL"}


@pytest.mark.parametrize(
    ("family", "texts", "tensors"),
    [("sd1", {"text_encoder": CLIP}, 686 + 248 + 196), ("sd2", {"text_encoder": OPEN_CLIP}, 686 + 248 + 280)],
)
def test_the_shipped_configurations_cover_a_whole_checkpoint(
    family: str, texts: dict[str, str], tensors: int, original: Any, tmp_path: Path
) -> None:
    """On the meta device: full-size shapes, no memory."""
    folder = vocabulary.CONFIGS / family
    with torch.device("meta"):
        made = {
            part: getattr(diffusers, name).from_config(diffusers.AutoencoderKL.load_config(str(folder / part)))
            for part, name in NETWORKS.items()
        }
        encoders = {
            prefix: transformers.CLIPTextModel(transformers.CLIPTextConfig.from_pretrained(str(folder / part)))
            for part, prefix in texts.items()
        }
        state = original.checkpoint(made["unet"], made["vae"], encoders)
    assert len(state) == tensors
    width = {"sd1": 768, "sd2": 1024}[family]
    shapes = {key: tuple(tensor.shape) for key, tensor in state.items()}
    attention = "model.diffusion_model.input_blocks.{}.1.transformer_blocks.0.attn2.to_k.weight"
    assert shapes["model.diffusion_model.input_blocks.0.0.weight"] == (320, 4, 3, 3)
    assert [shapes[attention.format(at)] for at in (1, 4, 8)] == [(320, width), (640, width), (1280, width)]
    assert shapes["model.diffusion_model.output_blocks.5.2.conv.weight"] == (1280, 1280, 3, 3)
    assert shapes["model.diffusion_model.output_blocks.2.1.conv.weight"] == (1280, 1280, 3, 3)
    assert shapes["first_stage_model.decoder.up.0.block.0.nin_shortcut.weight"] == (128, 256, 1, 1)
    assert shapes["first_stage_model.quant_conv.weight"] == (8, 8, 1, 1)


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_the_shipped_parts_are_complete(family: str) -> None:
    folder = vocabulary.CONFIGS / family
    layout = layouts.read(family, folder)
    assert layout.kind == family.removesuffix("1").removesuffix("2")
    for part, (library, name) in layouts.classes(family, folder).items():
        package = {"diffusers": diffusers, "transformers": transformers}[library]
        assert hasattr(package, name), part


def test_the_vocabulary_is_clips() -> None:
    found = vocabulary.vocabulary()
    assert len(found) == 49408 and len(vocabulary.merges()) == 48894
    tokenizer = transformers.CLIPTokenizer(vocab=dict(found), merges=list(vocabulary.merges()), model_max_length=77)
    known = {"a photo of a cat": [320, 1125, 539, 320, 2368], "it's": [585, 568], "": []}
    for text, ids in known.items():
        assert tokenizer(text)["input_ids"] == [49406, *ids, 49407]
    assert tokenizer.pad_token_id == 49407
    assert [found[token] for token in ("!", "ÿ", "!</w>", "in", "<|endoftext|>")] == [0, 187, 256, 512, 49407]
