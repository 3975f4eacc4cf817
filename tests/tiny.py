"""Whole models of a few hundred kB with random weights, for what the demo models do not show. Seeded."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from sdbatch.sources.models import EMBEDDED

WIDTH, WIDTH_2 = 32, 48  # of the text encoders


def sd(folder: Path, *, channels: int = 4, seed: int = 0) -> Path:
    """Stable Diffusion 1.x's shape: 16 × 16 pixels, latents of 8 × 8. `channels` 9 is an inpainting model."""
    import diffusers
    import torch

    torch.manual_seed(seed)
    name = "StableDiffusionInpaintPipeline" if channels == 9 else "StableDiffusionPipeline"
    return _save(
        folder,
        getattr(diffusers, name)(
            vae=_vae(),
            text_encoder=_text(),
            tokenizer=_tokenizer(),
            unet=_unet(in_channels=channels, cross_attention_dim=WIDTH),
            scheduler=_scheduler(),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        ),
    )


def sdxl(folder: Path, *, channels: int = 4, seed: int = 0) -> Path:
    """SDXL's shape: two text encoders and tokenizers, size and crop as further conditions."""
    import diffusers
    import torch

    torch.manual_seed(seed)
    name = "StableDiffusionXLInpaintPipeline" if channels == 9 else "StableDiffusionXLPipeline"
    unet = _unet(
        in_channels=channels,
        cross_attention_dim=WIDTH + WIDTH_2,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=WIDTH_2 + 6 * 8,
        transformer_layers_per_block=(1, 2),
        use_linear_projection=True,
    )
    return _save(
        folder,
        getattr(diffusers, name)(
            vae=_vae(),
            text_encoder=_text(),
            text_encoder_2=_text(WIDTH_2, projected=True),
            tokenizer=_tokenizer(),
            tokenizer_2=_tokenizer(),
            unet=unet,
            scheduler=_scheduler(),
            add_watermarker=False,
        ),
    )


def latent_upscaler(folder: Path, *, seed: int = 0) -> Path:
    """The latent x2 upscaler's shape."""
    import diffusers
    import torch

    torch.manual_seed(seed)
    unet = diffusers.UNet2DConditionModel(
        sample_size=8,
        in_channels=8,
        out_channels=5,
        block_out_channels=(32, 32, 64, 64),  # its blocks normalise groups of 32
        down_block_types=("KDownBlock2D", *("KCrossAttnDownBlock2D",) * 3),
        mid_block_type=None,
        up_block_types=(*("KCrossAttnUpBlock2D",) * 3, "KUpBlock2D"),
        act_fn="gelu",
        attention_head_dim=8,
        norm_num_groups=None,
        conv_in_kernel=1,
        conv_out_kernel=1,
        cross_attention_dim=WIDTH,
        only_cross_attention=False,
        resnet_time_scale_shift="scale_shift",
        time_embedding_type="fourier",
        timestep_post_act="gelu",
        time_cond_proj_dim=128 + WIDTH,  # the noise level's 128, and the pooled text
    )
    return _save(
        folder,
        diffusers.StableDiffusionLatentUpscalePipeline(
            vae=_vae(),
            text_encoder=_text(),
            tokenizer=_tokenizer(),
            unet=unet,
            scheduler=diffusers.EulerDiscreteScheduler(prediction_type="sample"),
        ),
    )


def clip(folder: Path, *, seed: int = 0) -> Path:
    """CLIP's shape: pictures of 32 × 32, embeddings of 16 numbers."""
    import torch
    import transformers

    torch.manual_seed(seed)
    small = {"hidden_size": WIDTH, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.CLIPConfig(
        text_config=small, vision_config={**small, "image_size": 32, "patch_size": 8}, projection_dim=16
    )
    config.text_config.eos_token_id = _tokenizer().eos_token_id
    transformers.CLIPModel(config).save_pretrained(folder)
    sides = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    transformers.CLIPImageProcessorPil(**sides).save_pretrained(folder)
    _tokenizer().save_pretrained(folder)
    return folder


def _save(folder: Path, pipe: Any) -> Path:
    pipe.save_pretrained(str(folder), safe_serialization=True)
    for part in ("tokenizer", "tokenizer_2"):  # as the demo model has it, whatever the library would write
        if (folder / part).is_dir():
            shutil.rmtree(folder / part)
            shutil.copytree(EMBEDDED / "demo" / "tokenizer", folder / part)
    return folder


def _unet(**options: Any) -> Any:
    import diffusers

    given: dict[str, Any] = {
        "sample_size": 8,
        "block_out_channels": (16, 32),
        "layers_per_block": 1,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        "attention_head_dim": 8,
        "norm_num_groups": 8,
    }
    return diffusers.UNet2DConditionModel(**given, **options)


def _vae() -> Any:
    import diffusers

    return diffusers.AutoencoderKL(
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=16,
    )


def _text(width: int = WIDTH, *, projected: bool = False) -> Any:
    import transformers

    config = transformers.CLIPTextConfig(
        vocab_size=646,
        hidden_size=width,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        projection_dim=width,
        bos_token_id=644,
        eos_token_id=645,
        pad_token_id=645,
    )
    kind = transformers.CLIPTextModelWithProjection if projected else transformers.CLIPTextModel
    return kind(config).eval()


def _tokenizer() -> Any:
    import transformers

    return transformers.CLIPTokenizer.from_pretrained(str(EMBEDDED / "demo" / "tokenizer"), local_files_only=True)


def _scheduler() -> Any:
    import diffusers

    return diffusers.DDIMScheduler(beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False)
