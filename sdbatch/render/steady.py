"""Convolutions and linear layers in which a row's bits do not follow from its place in the batch.

A GPU's libraries choose a kernel by shape, and some kernels add up a row's products in another order at another place:
where tiles are left over after the last whole wave, say, those are cut along the sum. On an H100 a convolution of 1280
channels over 16 × 16 pixels does so in a batch of 32, and two of 255 levels of the picture change. What a library
chooses cannot be told, so it is tried: rows that are all alike go through the layer, with weights drawn here, and where
what comes out differs, the batch goes through in equal parts, as large as they may be. The choice follows from shapes,
number format and machine alone, never from a job.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

DRAWS = 3
"""How many rows are tried: a layer of few outputs might round one of them alike by chance."""
Call = Callable[[torch.Tensor, torch.Tensor, torch.Tensor | None], torch.Tensor]
"""Rows, weights and bias → what the layer gives."""
_parts: dict[tuple[Any, ...], int] = {}
_left: list[None] = []  # not empty while layers are left to the libraries


def linear(given: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """`functional.linear`, a row of the first dimension like any other."""
    if torch.compiler.is_compiling():
        made: torch.Tensor = torch.ops.sdbatch.linear(given, weight, bias)
        return made
    return _in_parts(F.linear, ("linear",), given, weight, bias)


def conv2d(
    given: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: Sequence[int] = (1, 1),
    padding: Sequence[int] = (0, 0),
    dilation: Sequence[int] = (1, 1),
    groups: int = 1,
) -> torch.Tensor:
    """`functional.conv2d`, a row of the first dimension like any other; in the layout that the weights have."""
    if torch.compiler.is_compiling():
        given = given.contiguous(memory_format=_layout(weight))  # here it is part of the kernel before
        made: torch.Tensor = torch.ops.sdbatch.conv2d(given, weight, bias, stride, padding, dilation, groups)
        return made
    how = tuple(stride), tuple(padding), tuple(dilation), groups

    def call(rows: torch.Tensor, kernel: torch.Tensor, offset: torch.Tensor | None) -> torch.Tensor:
        return F.conv2d(rows, kernel, offset, *how)

    return _in_parts(call, how, given, weight, bias)


class Linear(nn.Linear):
    """A linear layer that is steady."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """As `nn.Linear`."""
        return linear(input, self.weight, self.bias)


class Conv2d(nn.Conv2d):
    """A convolution that is steady; its padding is zeros."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """As `nn.Conv2d`."""
        assert not isinstance(self.padding, str)
        return conv2d(input, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


def make(network: nn.Module) -> None:
    """Make a network's layers steady, in place; twice is as once."""
    for module in network.modules():
        if type(module) is nn.Linear:
            module.__class__ = Linear
        elif type(module) is nn.Conv2d and module.padding_mode == "zeros" and not isinstance(module.padding, str):
            module.__class__ = Conv2d


@contextmanager
def off() -> Iterator[None]:
    """Leave layers to the libraries meanwhile, to compare with."""
    _left.append(None)
    try:
        yield
    finally:
        _left.pop()


def found() -> dict[tuple[Any, ...], int]:
    """How many rows go through at once, of each kind of layer that was met, where that is fewer than all."""
    return {key: part for key, part in _parts.items() if part < key[1][0]}


def _in_parts(
    call: Call, how: tuple[Any, ...], given: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
) -> torch.Tensor:
    """Rows through a layer, as many at once as may be."""
    count = given.shape[0]
    if count < 2 or given.dim() < 2 or _left:
        return call(given, weight, bias)
    key = (how, given.shape, given.stride(), weight.shape, weight.stride(), bias is None, given.dtype, given.device)
    part = _parts.get(key)
    if part is None:
        part = _parts[key] = _most(call, given, weight, bias)
    if part == count:
        return call(given, weight, bias)
    return torch.cat([call(rows, weight, bias) for rows in torch.split(given, part)])


def _most(call: Call, given: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> int:
    """The largest part of a batch of this shape in which every place gives the same bits."""
    draw = torch.Generator(given.device).manual_seed(0)
    kernel = torch.empty_like(weight).normal_(0.0, (weight.numel() / weight.shape[0]) ** -0.5, generator=draw)
    offset = None if bias is None else torch.empty_like(bias).normal_(generator=draw)
    count = given.shape[0]
    return next(
        part
        for part in range(count, 0, -1)
        if count % part == 0 and (part == 1 or _alike(call, given[:part], kernel, offset, draw))
    )


def _alike(
    call: Call, like: torch.Tensor, kernel: torch.Tensor, offset: torch.Tensor | None, draw: torch.Generator
) -> bool:
    """Whether rows that are all the same stay so."""
    rows = torch.empty_like(like)
    for _ in range(DRAWS):
        rows[:1].normal_(generator=draw)
        rows[1:] = rows[:1]
        made = call(rows, kernel, offset)
        if not bool((made == made[:1]).all()):
            return False
    return True


def _layout(weight: torch.Tensor) -> torch.memory_format:
    plain = weight.is_contiguous() or not weight.is_contiguous(memory_format=torch.channels_last)
    return torch.contiguous_format if plain else torch.channels_last


# For what is compiled: a compiler may neither look into the trial nor put another kernel in its place.
@torch.library.custom_op("sdbatch::linear", mutates_args=())
def _linear(given: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    return linear(given, weight, bias)


@_linear.register_fake
def _(*given: Any) -> torch.Tensor:
    return nn.functional.linear(*given)


@torch.library.custom_op("sdbatch::conv2d", mutates_args=())
def _conv2d(
    given: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> torch.Tensor:
    made = conv2d(given, weight, bias, stride, padding, dilation, groups)
    return made.contiguous(memory_format=_layout(weight))


@_conv2d.register_fake
def _(given: torch.Tensor, weight: torch.Tensor, *how: Any) -> torch.Tensor:
    return nn.functional.conv2d(given, weight, *how).contiguous(memory_format=_layout(weight))
