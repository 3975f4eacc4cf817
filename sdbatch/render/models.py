"""Load models: one at a time a worker, its components shared by every pipeline over them."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import diffusers
import torch

from sdbatch.errors import ModelError
from sdbatch.render import checkpoints, device, memory, steady
from sdbatch.render.finetunes import FineTunes
from sdbatch.sources.finetunes import Chosen
from sdbatch.sources.models import Model
from sdbatch.types import Render

RECOMPILED_MOST = 4096
"""Shapes that a network is compiled for in one process; torch's own 8 would be met by a job of many sizes."""
Loader = Callable[[Model, torch.dtype], dict[str, Any]]
"""Component name → component of a model, its networks in a dtype."""


class Models:
    """The model in hand, the parts beside it (VAEs, ControlNets, depth estimators), and the pipelines over them.

    Args:
        render: dtype, device, attention and the like.
        loader: reads a model; raises what `checkpoints.components` does.
    """

    def __init__(self, render: Render, loader: Loader = checkpoints.components) -> None:
        self._render, self._loader = render, loader
        self._dtype = getattr(torch, render.dtype)
        self._held: str | None = None
        self._components: dict[str, Any] = {}
        self._parts: dict[str, dict[str, Any]] = {}
        self._pipes: dict[tuple[Any, ...], Any] = {}
        self._tunes: FineTunes | None = None
        self._offloads = render.vram == "low" and render.device != "cpu"
        self.loads = 0

    def pipeline(self, model: Model, name: str, vae: Model | None = None, controlnets: Sequence[Model] = ()) -> Any:
        """A pipeline of diffusers' class `name` over a model; the same object each time.

        Args:
            vae: in place of the model's own.
            controlnets: what a ControlNet pipeline needs besides.

        Raises:
            ModelError: the files hold no whole model of that kind.
        """
        if self._held != model.hash:
            self._release()  # free the old model before the new one is read
            self._components = self._load(model)
            self._held = model.hash
            self.loads += 1
        key = (name, vae and vae.hash, *(net.hash for net in controlnets))
        if key not in self._pipes:
            more = {} if vae is None else {"vae": self.part(vae, "vae")}
            if controlnets:
                nets = [self.part(net, "controlnet") for net in controlnets]
                more["controlnet"] = nets[0] if len(nets) == 1 else diffusers.MultiControlNetModel(nets)
            pipe = self._pipes[key] = self._build(model, name, {**self._components, **more})
            self._tunes = self._tunes or FineTunes(pipe)
            if self._render.device != "cpu":
                memory.trim()  # now, not among the pictures: of gigabytes read and moved it takes most of a second
        return self._pipes[key]

    def holds(self, model: Model) -> bool:
        """Whether this is the model in hand."""
        return self._held == model.hash

    def carry(self, chosen: Chosen) -> bool:
        """Put exactly these fine-tunes on the model in hand; whether that changed anything.

        Raises:
            ModelError: one cannot be read or does not fit; the model is without any then.
        """
        assert self._tunes is not None
        return self._tunes.use(chosen.loras, chosen.embeddings, chosen.hypernetwork)

    def offload(self) -> None:
        """Let components wait in the host's memory until they are called, from now on; bits stay the same."""
        self._offloads = True
        for pipe in self._pipes.values():
            pipe.enable_model_cpu_offload(device=self._render.device)

    def part(self, model: Model, name: str) -> Any:
        """One component of another model, kept beside the one in hand, on the device.

        Raises:
            ModelError: the model cannot be loaded or has no such component.
        """
        found = self._parts.get(model.hash) or self._parts.setdefault(model.hash, self._load(model))
        if found.get(name) is None:
            raise ModelError(f"model {model.name!r} ({model.kind}) has no {name}")
        component = found[name]
        if isinstance(component, torch.nn.Module):
            component.to(self._render.device)
            if self._render.device != "cpu":
                steady.make(component)
        return component

    def _release(self) -> None:
        self._held, self._components, self._parts, self._pipes, self._tunes = None, {}, {}, {}, None
        if self._render.device == "cuda":
            torch.cuda.empty_cache()

    def _load(self, model: Model) -> dict[str, Any]:
        quiet()
        try:
            return self._loader(model, self._dtype)
        except (OSError, ValueError, KeyError, RuntimeError, AttributeError) as error:
            raise ModelError(f"model {model.name!r} ({model.path}): cannot be loaded: {error}") from error

    def _build(self, model: Model, name: str, components: dict[str, Any]) -> Any:
        from sdbatch.render import pipelines  # after quiet(): importing these classes has things to say

        kind = pipelines.get(name)
        allowed = inspect.signature(kind.__init__).parameters
        extra = {"safety_checker": None, "requires_safety_checker": False, "add_watermarker": False}
        blank = dict.fromkeys(kind._optional_components)
        given = {key: value for key, value in {**blank, **extra, **components}.items() if key in allowed}
        factor = components["vae"].config.scaling_factor
        try:
            pipe = kind(**given)
        except (TypeError, ValueError, AttributeError) as error:
            raise ModelError(f"model {model.name!r} ({model.kind}): does not make a {name}: {error}") from error
        pipe.vae.register_to_config(scaling_factor=factor)  # the upscaler's pipeline replaces it by its own
        pipe.set_progress_bar_config(disable=True)
        self._set(pipe)
        return pipe

    def _set(self, pipe: Any) -> None:
        """Attention, VAE tiling and slicing, and the device, as `render:` says."""
        render, low = self._render, self._render.vram == "low"
        if render.attention == "eager":
            pipe.unet.set_attn_processor(diffusers.models.attention_processor.AttnProcessor())
        elif render.attention == "sliced" or low:
            pipe.enable_attention_slicing()
        if render.vae_tiling or low:
            pipe.vae.enable_tiling()
        if low:
            pipe.vae.enable_slicing()
        if self._offloads:
            pipe.enable_model_cpu_offload(device=render.device)
        else:
            pipe.to(render.device)
        lay_out(pipe.unet, device.memory_format(render.device, compiled=render.compile))
        if render.device != "cpu":  # a CPU's libraries add up every row of a shape alike, which the tests try
            for name in ("unet", "vae", "text_encoder", "text_encoder_2"):
                if (part := getattr(pipe, name, None)) is not None:
                    steady.make(part)
        if render.compile:
            compiled(pipe.unet)


def lay_out(network: torch.nn.Module, memory_format: str) -> None:
    """Lay a network's kernels out as `device.memory_format` says; torch's convolutions follow them."""
    if memory_format == "channels_last":
        whole: Any = network  # torch's own annotations leave this argument out
        whole.to(memory_format=torch.channels_last)


def compiled(network: torch.nn.Module) -> None:
    """Have a network compiled when it is called, for each shape anew.

    By itself torch compiles a second shape for all shapes at once, and after some more none at all, so that the bits
    of a picture would follow from the sizes that were made before it.
    """
    from torch._dynamo import config  # a second of imports, of use only here

    config.recompile_limit = config.accumulated_recompile_limit = RECOMPILED_MOST
    network.compile(dynamic=False)


def quiet() -> None:
    """Keep the libraries' bars and notices, which no user can act on, out of the progress display."""
    import transformers

    warnings.filterwarnings("ignore", module=r"(diffusers|transformers|torch|huggingface_hub)\b.*")
    for library in (diffusers.utils.logging, transformers.utils.logging):
        library.set_verbosity_error()
        library.disable_progress_bar()
