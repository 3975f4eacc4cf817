"""Lossy speed-ups of a UNet, put on for one pipeline call and taken off without a trace.

- DeepCache (Ma et al. 2023, arXiv 2312.00858; the package DeepCache): of N calls of the UNet one is whole, and its
  inner features serve the others, which compute the outermost layers alone.
- Token merging (Bolya and Hoffman 2023, arXiv 2303.17604; the package tomesd): attention over fewer tokens, those most
  alike taken together. Its random choice of the tokens that others are merged into is off: it would follow from
  torch's global random state, not from the row.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from sdbatch.errors import ModelError, RowError
from sdbatch.sources import acceleration

_ATTRIBUTES = ("forward", "_tome_info", "_compiled_call_impl")
"""What the packages and this module set on modules, and leave there."""
_BLOCK = "BasicTransformerBlock"


@contextmanager
def on(pipe: Any, wanted: Mapping[str, Any] | None, size: tuple[int, int]) -> Iterator[None]:
    """While in here, the pipeline's UNet is sped up as `accelerate` says; afterwards it is what it was, bit for bit.

    Each use begins with no features kept. A UNet that is compiled runs as it is written, since what is compiled does
    not see the change.

    Args:
        wanted: a value of `accelerate` that has no `problem`; None or empty changes nothing.
        size: width and height of what the pipeline makes, in pixels.

    Raises:
        ModelError: a package is missing, or the UNet has no place for what is wanted.
        RowError: the picture is too small to merge tokens in.
    """
    if not wanted:
        yield
        return
    if wrong := acceleration.missing(wanted):
        raise ModelError(f"accelerate {wrong}")
    with ExitStack() as stack:
        stack.callback(_restore, _noted(pipe.unet))
        pipe.unet._compiled_call_impl = None
        if "tome" in wanted:
            _merge(stack, pipe, float(wanted["tome"]), size)
        if "deepcache" in wanted:
            _cache(pipe, int(wanted["deepcache"]))
        yield


def _noted(unet: nn.Module) -> list[tuple[nn.Module, dict[str, Any]]]:
    """Each module with those of _ATTRIBUTES that are its own, such as the `forward` of one that is offloaded."""
    return [
        (module, {name: vars(module)[name] for name in _ATTRIBUTES if name in vars(module)})
        for module in unet.modules()
    ]


def _restore(noted: Sequence[tuple[nn.Module, Mapping[str, Any]]]) -> None:
    for module, attributes in noted:
        for name in _ATTRIBUTES:
            vars(module).pop(name, None)
        vars(module).update(attributes)


def _cache(pipe: Any, interval: int) -> None:
    from DeepCache import DeepCacheSDHelper

    class Counting(DeepCacheSDHelper):
        """DeepCache by the number of the call.

        The package looks for the timestep in the scheduler's list. Heun's method has each but the first twice in it,
        and of two the first is found: with an interval of 2 every call after the first would be a short one.
        """

        def wrap_unet_forward(self) -> None:
            forward = self.function_dict["unet_forward"] = self.pipe.unet.forward
            calls = itertools.count()

            def counted(*given: Any, **named: Any) -> Any:
                self.cur_timestep = next(calls)
                return forward(*given, **named)

            self.pipe.unet.forward = counted

    if pipe.unet.mid_block is None:
        raise ModelError("accelerate.deepcache: this model's UNet has no middle block, which DeepCache needs")
    helper = Counting(pipe)
    # Branch 0: on a short call only the first convolution and the last layer are computed.
    helper.set_params(cache_interval=interval, cache_branch_id=0)
    helper.enable()


def _merge(stack: ExitStack, pipe: Any, ratio: float, size: tuple[int, int]) -> None:
    import tomesd

    reduced = _finest(pipe.unet)
    if min(-(-side // (pipe.vae_scale_factor * reduced)) for side in size) < 2:
        raise RowError(f"accelerate.tome: at {size[0]} x {size[1]} there are no 2 x 2 tokens to merge any of")
    # The mean over merged tokens is a sum in any order on GPUs, unless torch is told otherwise.
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    stack.callback(lambda: torch.use_deterministic_algorithms(before[0], warn_only=before[1]))
    torch.use_deterministic_algorithms(True, warn_only=True)
    stack.callback(tomesd.remove_patch, pipe.unet)
    tomesd.apply_patch(pipe.unet, ratio=ratio, max_downsample=reduced, use_rand=False)


def _finest(unet: Any) -> int:
    """By how much the latents are reduced where attention first looks at them: 1 in Stable Diffusion, 2 in SDXL.

    Raises:
        ModelError: it never does.
    """
    for level, block in enumerate(unet.down_blocks):
        if any(type(module).__name__ == _BLOCK for module in block.modules()):
            return 2**level
    raise ModelError("accelerate.tome: this model's UNet has no attention in which tokens could be merged")
