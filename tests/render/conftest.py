"""Hand-made fine-tunes for the embedded demo model, and that model, checked to be left as it was."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from safetensors.torch import save_file

from sdbatch.render.models import quiet
from sdbatch.sources.adapters import Kind
from sdbatch.sources.finetunes import FineTune
from sdbatch.sources.models import EMBEDDED

Half = tuple[torch.Tensor, torch.Tensor]
PROMPT = "a large red star in the center on a white background"
LAYERS = {
    "unet": {
        "down_blocks.0.downsamplers.0.conv": (64, 64, 3, 3),
        "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q": (96, 96),
        "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_out.0": (96, 96),
        "mid_block.attentions.0.transformer_blocks.0.attn2.to_k": (96, 128),
        "mid_block.attentions.0.transformer_blocks.0.ff.net.0.proj": (768, 96),
        "up_blocks.0.attentions.1.proj_in": (96, 96, 1, 1),
        "up_blocks.1.resnets.0.conv1": (96, 192, 3, 3),
        "up_blocks.1.resnets.0.conv_shortcut": (96, 192, 1, 1),
        "up_blocks.1.resnets.0.time_emb_proj": (96, 256),
    },
    "text_encoder": {
        "encoder.layers.0.self_attn.q_proj": (128, 128),
        "encoder.layers.1.self_attn.out_proj": (128, 128),
        "encoder.layers.1.mlp.fc1": (512, 128),
    },
}
"""Layers that the hand-made LoRAs change, with the shapes of their weights in the demo model."""
_ORIGINAL = {  # the demo model has one layer a block
    "down_blocks_1_attentions_0": "input_blocks_3_1",
    "mid_block_attentions_0": "middle_block_1",
    "up_blocks_0_attentions_1": "output_blocks_1_1",
    "up_blocks_1_resnets_0": "output_blocks_2_0",
    "down_blocks_0_downsamplers_0_conv": "input_blocks_2_0_op",
    "_conv1": "_in_layers_2",
    "_conv_shortcut": "_skip_connection",
    "_time_emb_proj": "_emb_layers_1",
}


class Handmade:
    """Fine-tunes of random numbers, and what the demo model draws.

    Attributes:
        folder: where files are saved.
    """

    prompt = PROMPT

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def load(self, dtype: torch.dtype = torch.float32) -> Any:
        """The demo model, fresh."""
        quiet()
        pipe = diffusers.StableDiffusionPipeline.from_pretrained(EMBEDDED / "demo", torch_dtype=dtype)
        pipe.set_progress_bar_config(disable=True)
        return pipe

    def rendered(self, pipe: Any, prompt: str = PROMPT) -> torch.Tensor:
        """A picture of two steps: (1, 3, 64, 64), 0 to 1."""
        size = {"width": 64, "height": 64, "num_inference_steps": 2, "guidance_scale": 4.0}
        draws = [torch.Generator("cpu").manual_seed(7)]
        with torch.inference_mode():
            return pipe(prompt, generator=draws, output_type="pt", **size).images

    def state(self, pipe: Any) -> tuple[Any, ...]:
        """Every module, weight and token, by identity, and the attention processors."""
        parts = []
        for root in (pipe.unet, pipe.text_encoder):
            tensors = root.state_dict(keep_vars=True).items()
            parts.append([(name, id(module)) for name, module in root.named_modules()])
            parts.append([(name, id(tensor), tensor._version) for name, tensor in tensors])
        processors = [(name, id(processor)) for name, processor in pipe.unet.attn_processors.items()]
        tokens = len(pipe.tokenizer), id(pipe.tokenizer._tokenizer), pipe.text_encoder.eos_token_id
        return (*parts, processors, *tokens)

    def halves(self, seed: int = 0, rank: int = 4) -> dict[str, Half]:
        """A LoRA's A and B by `component.path`, strong enough to be seen."""
        draw = torch.Generator().manual_seed(seed)
        found = {}
        for component, paths in LAYERS.items():
            for path, (outputs, inputs, *kernel) in paths.items():
                down = torch.randn((rank, inputs, *kernel), generator=draw) * 0.1
                up = torch.randn((outputs, rank, *[1] * len(kernel)), generator=draw) * 0.2
                found[f"{component}.{path}"] = down, up
        return found

    def names(self, style: str, pairs: Mapping[str, Half], alpha: float | None = None) -> dict[str, torch.Tensor]:
        """A LoRA's tensors as `kohya`, `original` (his trainer on the original code), `peft` or `old` name them."""
        tensors = {}
        for name, (down, up) in pairs.items():
            stem, ends = _STYLES[style](name)
            tensors |= {f"{stem}{ends[0]}.weight": down, f"{stem}{ends[1]}.weight": up}
            if alpha is not None:
                tensors[f"{stem}.alpha"] = torch.tensor(alpha)
        return tensors

    def lora(self, name: str, seed: int = 0, alpha: float | None = None, rank: int = 4) -> FineTune:
        """A LoRA's file in Kohya's names."""
        return self.saved(name, self.names("kohya", self.halves(seed, rank), alpha))

    def embedding(self, name: str, vectors: int, width: int = 128) -> FineTune:
        """An embedding's file in AUTOMATIC1111's names."""
        draw = torch.Generator().manual_seed(vectors)
        return self.saved(name, {"emb_params": torch.randn((vectors, width), generator=draw)}, "embedding")

    def saved(
        self,
        name: str,
        tensors: Mapping[str, torch.Tensor],
        kind: Kind = "lora",
        metadata: dict[str, str] | None = None,
    ) -> FineTune:
        """A file, as if a row had named it."""
        path = self.folder / f"{name}.safetensors"
        save_file({key: tensor.clone().contiguous() for key, tensor in tensors.items()}, path, metadata)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        return FineTune(kind, name, path, digest, digest[:12], "", name if kind == "embedding" else "")


def _kohya(name: str) -> tuple[str, tuple[str, str]]:
    component, _, path = name.partition(".")
    prefix = "lora_unet_" if component == "unet" else "lora_te_text_model_"
    return prefix + path.replace(".", "_"), (".lora_down", ".lora_up")


def _original(name: str) -> tuple[str, tuple[str, str]]:
    stem, ends = _kohya(name)
    for ours, theirs in _ORIGINAL.items():
        stem = stem.replace(ours, theirs) if stem.startswith("lora_unet") else stem
    return stem, ends


def _peft(name: str) -> tuple[str, tuple[str, str]]:
    return name.replace("text_encoder.", "text_encoder.text_model."), (".lora_A", ".lora_B")


def _old(name: str) -> tuple[str, tuple[str, str]]:
    """As before peft: `attn1.processor.to_q_lora.down.weight`."""
    owner, _, leaf = name.removesuffix(".0").rpartition(".")
    if "attn1" in owner or "attn2" in owner:
        return f"{owner}.processor.{leaf}_lora", (".down", ".up")
    if "self_attn" in owner:
        leaf = {"q_proj": "to_q", "out_proj": "to_out"}[leaf]
        return f"{owner}.{leaf}_lora", (".down", ".up")
    kind = ".lora_linear_layer" if name.startswith("text_encoder") else ".lora"
    return name + kind, (".down", ".up")


_STYLES = {"kohya": _kohya, "original": _original, "peft": _peft, "old": _old}


@pytest.fixture(scope="session")
def _loaded(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return Handmade(tmp_path_factory.mktemp("handmade")).load()


@pytest.fixture
def handmade(tmp_path: Path) -> Handmade:
    """Hand-made fine-tunes, saved in the test's folder."""
    return Handmade(tmp_path)


@pytest.fixture
def demo_pipe(_loaded: Any, handmade: Handmade) -> Iterator[Any]:
    """The demo model; that a test left it as it was is checked on the way out."""
    before = handmade.state(_loaded)
    yield _loaded
    assert handmade.state(_loaded) == before
