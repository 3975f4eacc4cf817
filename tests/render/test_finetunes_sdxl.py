"""Fine-tunes of a model with two text encoders, on a tiny one of random numbers in SDXL's shape."""

from __future__ import annotations

from typing import Any

import diffusers
import pytest
import torch
import transformers

from sdbatch.errors import ModelError
from sdbatch.render import loras
from sdbatch.render.finetunes import FineTunes
from sdbatch.render.models import quiet
from sdbatch.sources.models import EMBEDDED

Handmade = Any
LAYERS = {
    "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k": (64, 64),
    "lora_unet_output_blocks_2_2_conv": (64, 64, 3, 3),
    "lora_unet_label_emb_0_2": (128, 128),
    "lora_te1_text_model_encoder_layers_0_self_attn_q_proj": (32, 32),
    "lora_te2_text_model_encoder_layers_0_mlp_fc1": (37, 32),
    "lora_te2_text_projection": (32, 32),
}


@pytest.fixture(scope="module")
def tiny() -> Any:
    quiet()
    torch.manual_seed(0)
    blocks = {"block_out_channels": (32, 64), "layers_per_block": 2, "norm_num_groups": 8}
    unet = diffusers.UNet2DConditionModel(
        **blocks, sample_size=16, down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), attention_head_dim=(2, 4), use_linear_projection=True,
        addition_embed_type="text_time", addition_time_embed_dim=8, transformer_layers_per_block=(1, 2),
        projection_class_embeddings_input_dim=80, cross_attention_dim=64,
    )  # fmt: skip
    config = transformers.CLIPTextConfig(
        hidden_size=32, intermediate_size=37, num_attention_heads=4, num_hidden_layers=3, vocab_size=646,
        bos_token_id=644, eos_token_id=2, projection_dim=32,
    )  # fmt: skip
    tokenizers = [transformers.CLIPTokenizer.from_pretrained(EMBEDDED / "demo" / "tokenizer") for _ in range(2)]
    vae = diffusers.AutoencoderKL(
        block_out_channels=(8, 8, 8, 8), norm_num_groups=4, down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
    )  # fmt: skip
    pipe = diffusers.StableDiffusionXLPipeline(
        vae, transformers.CLIPTextModel(config), transformers.CLIPTextModelWithProjection(config), *tokenizers, unet,
        diffusers.DDIMScheduler(clip_sample=False, set_alpha_to_one=False), add_watermarker=False,
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    for part in (unet, pipe.text_encoder, pipe.text_encoder_2, vae):
        part.eval()
    return pipe


def lora(handmade: Handmade) -> Any:
    draw = torch.Generator().manual_seed(0)
    tensors = {}
    for name, (outputs, inputs, *kernel) in LAYERS.items():
        tensors[f"{name}.lora_down.weight"] = torch.randn((4, inputs, *kernel), generator=draw)
        tensors[f"{name}.lora_up.weight"] = torch.randn((outputs, 4, *[1] * len(kernel)), generator=draw)
    return handmade.saved("xl", tensors)


def encoded(pipe: Any, text: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Embeddings and pooled embedding."""
    with torch.no_grad():
        found = pipe.encode_prompt(text, device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=False)
    return found[0], found[2]


def test_loras_and_embeddings_on_and_off(tiny: Any, handmade: Handmade) -> None:
    draw = torch.Generator().manual_seed(1)
    vectors = {key: torch.randn((2, 32), generator=draw) for key in ("clip_l", "clip_g")}
    word = handmade.saved("word", vectors, "embedding")
    base = handmade.rendered(tiny)
    texts = encoded(tiny, "a red star")
    tunes = FineTunes(tiny)
    tunes.use([(lora(handmade), 0.5)], [], None)
    assert not torch.equal(handmade.rendered(tiny), base)
    assert not any(torch.equal(*pair) for pair in zip(encoded(tiny, "a red star"), texts, strict=True))
    tunes.use([], [(word, "word")], None)
    assert all(torch.equal(*pair) for pair in zip(encoded(tiny, "a red star"), texts, strict=True))
    with_word = encoded(tiny, "a word star")
    for half in (slice(0, 32), slice(32, 64)):
        assert not torch.equal(with_word[0][..., half], encoded(tiny, "a w star")[0][..., half])
    tunes.clear()
    assert torch.equal(handmade.rendered(tiny), base)
    assert [len(tiny.tokenizer), len(tiny.tokenizer_2)] == [646, 646]


def test_an_embedding_for_one_text_encoder(tiny: Any, handmade: Handmade) -> None:
    with pytest.raises(ModelError, match="for one text encoder, and this one has two"):
        FineTunes(tiny).use([], [(handmade.embedding("one", 1, 32), "one")], None)


def test_the_original_codes_names_are_those_that_diffusers_reads(tiny: Any) -> None:
    """Of every layer in the blocks, where diffusers' loader has a rule for it."""
    paths = [path for component, path in loras._places(tiny) if component == "unet" and "blocks." in path]
    names = {path: loras._original(path, tiny.unet.config) for path in paths}
    assert None not in names.values()
    tensors = {}
    for name in names.values():
        stem = "lora_unet_" + str(name).replace(".", "_")
        tensors |= {f"{stem}.lora_down.weight": torch.ones(1, 1), f"{stem}.lora_up.weight": torch.ones(1, 1)}
    read, _ = tiny.lora_state_dict(tensors, unet_config=tiny.unet.config)
    theirs = {loras._stem(name, loras._DOWN).removeprefix("unet.") for name in read if ".down." in name}
    assert theirs == set(paths)
