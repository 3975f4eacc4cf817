"""The demo family's networks, each made of `demo`'s weights, and the folders that they are written to.

What a model shares with `demo` lies in `demo`'s folder alone; `shared.json` says which parts those are.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, ControlNetModel, DDPMScheduler, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer, DPTConfig, DPTForDepthEstimation, DPTImageProcessorPil

from sdbatch.demo import networks, scenes

DEMO = Path(__file__).parent / "weights" / "demo"
SHARED = ("text_encoder", "tokenizer", "vae", "scheduler")
NOISE_LEVELS = 350
"""Most noise that the upscaler is taught to expect in a small picture."""


class Base:
    """The parts of `demo`, frozen, in float32.

    Args:
        folder: of the model.
    """

    def __init__(self, folder: Path = DEMO) -> None:
        options: dict[str, Any] = {"local_files_only": True}
        self.tokenizer: Any = CLIPTokenizer.from_pretrained(str(folder / "tokenizer"))
        self.text: Any = CLIPTextModel.from_pretrained(str(folder / "text_encoder"), dtype=torch.float32, **options)
        self.vae: Any = AutoencoderKL.from_pretrained(str(folder / "vae"), torch_dtype=torch.float32, **options)
        self.unet: Any = UNet2DConditionModel.from_pretrained(
            str(folder / "unet"), torch_dtype=torch.float32, **options
        )
        for part in (self.text, self.vae, self.unet):
            part.requires_grad_(False).eval()

    @property
    def scale(self) -> float:
        """What the VAE's latents are multiplied by."""
        return float(self.vae.config.scaling_factor)


def widened(unet: Any, channels: int, **changes: Any) -> UNet2DConditionModel:
    """A UNet that also sees more input channels, and at first makes nothing of them: their weights are 0."""
    made = networks.make_unet(in_channels=channels, **changes)
    state = made.state_dict()
    state |= unet.state_dict()
    state["conv_in.weight"] = torch.zeros_like(made.conv_in.weight)
    state["conv_in.weight"][:, : unet.config.in_channels] = unet.conv_in.weight
    for name, value in state.items():
        if name.startswith("class_embedding"):
            state[name] = torch.zeros_like(value)
    made.load_state_dict(state)
    return made.to(memory_format=torch.channels_last)


def make_inpaint(base: Base) -> UNet2DConditionModel:
    """9 channels: latents, mask, latents of the picture with the mask cut out."""
    return widened(base.unet, 9)


def make_depth(base: Base) -> UNet2DConditionModel:
    """5 channels: latents, depth."""
    return widened(base.unet, 5)


def make_upscaler(base: Base) -> UNet2DConditionModel:
    """7 channels: latents, the small picture; and a class that says how much noise is in that."""
    return widened(base.unet, 7, num_class_embeds=1000)


def make_controlnet(base: Base) -> ControlNetModel:
    """The UNet's encoder again, beside it, for pictures of edges four times the latents' size."""
    made: Any = ControlNetModel.from_unet(base.unet, conditioning_embedding_out_channels=(16, 32, 64))
    return made.requires_grad_(True).to(memory_format=torch.channels_last)


def make_estimator() -> DPTForDepthEstimation:
    """A DPT of four layers of width 96: (n, 3, 64, 64) in -1 to 1 to inverse depth (n, 64, 64)."""
    network: Any = DPTForDepthEstimation(
        DPTConfig(
            hidden_size=96,
            num_hidden_layers=4,
            num_attention_heads=4,
            intermediate_size=192,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            image_size=scenes.SIDE,
            patch_size=16,
            backbone_out_indices=[0, 1, 2, 3],
            neck_hidden_sizes=[16] * 4,
            fusion_hidden_size=16,
            head_in_index=-1,
            use_auxiliary_head=False,
            is_hybrid=False,
        )
    )
    _begin(network)
    return network


def _begin(network: Any) -> None:
    """First weights of about unit gain: the library's, for pretrained ones to replace, let no signal through."""
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.xavier_normal_(module.weight)
        elif isinstance(module, torch.nn.ConvTranspose2d):
            torch.nn.init.normal_(module.weight, std=module.weight.shape[0] ** -0.5)
    for module in network.dpt.modules():
        if isinstance(module, torch.nn.Linear):
            torch.nn.init.xavier_uniform_(module.weight)
    for name, module in network.neck.fusion_stage.named_modules():
        if name.endswith("convolution2"):
            module.weight.data *= 0.2  # the end of a residual branch
    last: Any = [module for module in network.head.modules() if isinstance(module, torch.nn.Conv2d)][-1]
    last.weight.data *= 0.3
    last.bias.data.fill_(0.3)  # behind it stands a ReLU, which below 0 would stay there


def make_extractor() -> Any:
    """Pictures as the estimator takes them."""
    side = scenes.SIDE
    return DPTImageProcessorPil(
        size={"height": side, "width": side}, image_mean=[0.5] * 3, image_std=[0.5] * 3, ensure_multiple_of=1
    )


def low_res_scheduler() -> DDPMScheduler:
    """How noise is added to the upscaler's small picture; the schedule is that of the published x4 upscaler."""
    return DDPMScheduler(beta_start=0.0001, beta_end=0.02, beta_schedule="scaled_linear", num_train_timesteps=1000)


def write(folder: Path, class_name: str, parts: Mapping[str, tuple[str, Any]], **more: Any) -> None:
    """Write a pipeline's folder: its own parts in float16, the others named as shared.

    Args:
        parts: component → (library, component) of those that are the model's own.
        more: further entries of the index.
    """
    index: dict[str, Any] = {"_class_name": class_name, "_diffusers_version": "0.42.1", **more}
    demo = json.loads((DEMO / "model_index.json").read_text("utf-8"))
    index |= {name: demo[name] for name in SHARED}
    for name, (library, part) in parts.items():
        index[name] = [library, type(part).__name__.removesuffix("Pil")]
        save(folder / name, part)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    shared = dict.fromkeys(SHARED, "demo")
    (folder / "shared.json").write_text(json.dumps(shared, indent=2) + "\n", encoding="utf-8")


def save(folder: Path, part: Any) -> None:
    """Write one component, its weights in float16; the component itself stays as it was."""
    shutil.rmtree(folder, ignore_errors=True)
    if not isinstance(part, torch.nn.Module):
        part.save_pretrained(str(folder))
        return
    state = {name: value.clone() for name, value in part.state_dict().items()}
    part.half()
    write_part: Any = part.save_pretrained
    write_part(str(folder), safe_serialization=True)
    part.float().load_state_dict(state)
