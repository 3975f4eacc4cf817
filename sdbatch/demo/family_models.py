"""The models made from `demo`: how each begins, and the folders they are kept in.

Parts that a model has in common with `demo` lie there only; `shared.json` says which. A folder
together with those parts is what plain diffusers loads: `components` puts them together.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import AutoencoderKL, ControlNetModel, DDPMScheduler, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer, DPTConfig, DPTForDepthEstimation, DPTImageProcessorPil

from sdbatch.demo import scenes

BASE = "demo"
SHARED = ("text_encoder", "tokenizer", "vae", "scheduler")
NOISE_LEVELS = 1000
MOST_NOISE = 350
"""The largest noise level that StableDiffusionUpscalePipeline takes by default."""
PIPELINES = {
    "demo-inpaint": "StableDiffusionInpaintPipeline",
    "demo-depth": "StableDiffusionDepth2ImgPipeline",
    "demo-upscaler": "StableDiffusionUpscalePipeline",
}
CONTROLNET = "demo-controlnet"
_CLASSES = {
    "text_encoder": ("transformers", "CLIPTextModel"),
    "tokenizer": ("transformers", "CLIPTokenizer"),
    "vae": ("diffusers", "AutoencoderKL"),
    "scheduler": ("diffusers", "DDIMScheduler"),
    "unet": ("diffusers", "UNet2DConditionModel"),
    "depth_estimator": ("transformers", "DPTForDepthEstimation"),
    "feature_extractor": ("transformers", "DPTImageProcessor"),
    "low_res_scheduler": ("diffusers", "DDPMScheduler"),
}


class Base:
    """The parts of `demo`, float32, frozen, in evaluation mode.

    Args:
        folder: the diffusers folder `demo`.
    """

    def __init__(self, folder: Path) -> None:
        self.tokenizer: Any = CLIPTokenizer.from_pretrained(str(folder / "tokenizer"), local_files_only=True)
        self.text: Any = _frozen(CLIPTextModel, folder / "text_encoder")
        self.vae: Any = _frozen(AutoencoderKL, folder / "vae")
        self.unet: Any = _frozen(UNet2DConditionModel, folder / "unet")

    @property
    def scale(self) -> float:
        """The VAE's scaling factor."""
        return float(self.vae.config.scaling_factor)


def widened(unet: Any, channels: int, **changes: Any) -> UNet2DConditionModel:
    """A copy of a UNet that takes more input channels and, as long as it is untrained, does not heed them.

    Args:
        channels: of the input; the first are the UNet's own, the kernels of the others are zero.
        changes: to the configuration; parts that come with them, such as a class embedding, begin as zero.
    """
    made = UNet2DConditionModel.from_config({**unet.config, "in_channels": channels, **changes})
    state = {key: value.clone() for key, value in unet.state_dict().items()}
    own = state["conv_in.weight"]
    state["conv_in.weight"] = torch.zeros(own.shape[0], channels, *own.shape[2:])
    state["conv_in.weight"][:, : own.shape[1]] = own
    for key, value in made.state_dict().items():
        if key not in state:
            state[key] = torch.zeros_like(value)
    made.load_state_dict(state)
    return made.to(memory_format=torch.channels_last)


def make_inpaint(base: Base) -> UNet2DConditionModel:
    """4 latent channels, the mask, 4 of the masked picture's latents."""
    return widened(base.unet, 9)


def make_depth(base: Base) -> UNet2DConditionModel:
    """4 latent channels and the depth."""
    return widened(base.unet, 5)


def make_upscaler(base: Base) -> UNet2DConditionModel:
    """4 latent channels and the small picture's 3; the noise on that picture is a class."""
    return widened(base.unet, 7, num_class_embeds=NOISE_LEVELS)


def make_controlnet(base: Base) -> ControlNetModel:
    """A ControlNet whose condition, at pixel size, is brought to the latents' by two strided convolutions."""
    made: Any = ControlNetModel.from_unet(base.unet, conditioning_embedding_out_channels=(16, 32, 64))
    # from_unet copies tensors by reference where it can: what is trained must be its own.
    made.load_state_dict({key: value.clone() for key, value in made.state_dict().items()})
    net: ControlNetModel = made.requires_grad_(True).to(memory_format=torch.channels_last)
    return net


def make_estimator() -> DPTForDepthEstimation:
    """A DPT of 0.7 million parameters: patches of 8 pixels, 4 layers of width 96; (n, 3, 64, 64) to (n, 128, 128)."""
    return DPTForDepthEstimation(
        DPTConfig(
            hidden_size=96,
            num_hidden_layers=4,
            num_attention_heads=4,
            intermediate_size=192,
            image_size=scenes.SIDE,
            patch_size=8,
            backbone_out_indices=[0, 1, 2, 3],
            neck_hidden_sizes=[24, 32, 48, 64],
            fusion_hidden_size=32,
            use_auxiliary_head=False,
        )
    )


def make_extractor() -> DPTImageProcessorPil:
    """Pictures of any size as the estimator takes them: 64 x 64 in -1 to 1."""
    return DPTImageProcessorPil(
        do_resize=True,
        size={"height": scenes.SIDE, "width": scenes.SIDE},
        resample=3,
        do_rescale=True,
        do_normalize=True,
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )


def make_low_res_scheduler() -> DDPMScheduler:
    """The noise that the upscaler's small picture gets, as the original x4 upscaler has it."""
    return DDPMScheduler(
        num_train_timesteps=NOISE_LEVELS, beta_start=0.0001, beta_end=0.02, beta_schedule="scaled_linear"
    )


def write(out: Path, name: str, parts: dict[str, Any]) -> Path:
    """Write a model's own parts, weights in fp16 safetensors, and what its folder needs beside them.

    Args:
        out: the folder that holds `demo`.
        parts: component name to component; of a ControlNet the one part, which then is the folder itself.

    Returns:
        The folder, `out/name`.
    """
    folder = out / name
    if name == CONTROLNET:
        (net,) = parts.values()
        net.half().save_pretrained(str(folder), safe_serialization=True)
        return folder
    for part, what in parts.items():
        if isinstance(what, torch.nn.Module):
            what.half()
        what.save_pretrained(str(folder / part))
    index: dict[str, Any] = {"_class_name": PIPELINES[name], "_diffusers_version": diffusers.__version__}
    index |= {part: list(_CLASSES[part]) for part in sorted({*SHARED, *parts})}
    if name == "demo-inpaint":
        index |= {"feature_extractor": [None, None], "safety_checker": [None, None], "requires_safety_checker": False}
    if name == "demo-upscaler":
        index |= {"max_noise_level": MOST_NOISE}
    _json(folder / "model_index.json", index)
    _json(folder / "shared.json", dict.fromkeys(SHARED, BASE))
    return folder


def pipeline(folder: Path) -> Any:
    """A folder's diffusers pipeline in float32, its shared parts joined in; for a ControlNet the one around `demo`."""
    if folder.name == CONTROLNET:
        net = _loaded("diffusers", "ControlNetModel", folder)
        parts = components(folder.parent / BASE)
        pipe: Any = diffusers.StableDiffusionControlNetPipeline(
            **parts, controlnet=net, safety_checker=None, feature_extractor=None, requires_safety_checker=False
        )
    else:
        index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
        options = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
        given = components(folder)
        extra = options if "requires_safety_checker" in index else {}
        factor = given["vae"].config.scaling_factor
        pipe = getattr(diffusers, index["_class_name"])(**{**extra, **given})
        # StableDiffusionUpscalePipeline puts the original upscaler's factor in the place of the VAE's own.
        pipe.vae.register_to_config(scaling_factor=factor)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def components(folder: Path) -> dict[str, Any]:
    """The components that a folder's index names, float32, from the folder itself or from where shared.json says."""
    index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    shared: dict[str, str] = {}
    if (folder / "shared.json").exists():
        shared = json.loads((folder / "shared.json").read_text(encoding="utf-8"))
    named = {part: what for part, what in index.items() if isinstance(what, list) and what[0]}
    return {
        part: _loaded(library, kind, (folder.parent / shared[part] if part in shared else folder) / part)
        for part, (library, kind) in named.items()
    }


def _loaded(library: str, kind: str, folder: Path) -> Any:
    import transformers

    # Without torchvision only the processors of this name work.
    kind = "DPTImageProcessorPil" if kind == "DPTImageProcessor" else kind
    found: Any = getattr({"diffusers": diffusers, "transformers": transformers}[library], kind)
    if issubclass(found, torch.nn.Module):
        return _frozen(found, folder)
    return found.from_pretrained(str(folder), local_files_only=True)


def _frozen(kind: Any, folder: Path) -> Any:
    module = kind.from_pretrained(str(folder), local_files_only=True)
    return module.float().eval().requires_grad_(False)


def _json(path: Path, what: dict[str, Any]) -> None:
    path.write_text(json.dumps(what, indent=2) + "\n", encoding="utf-8")
