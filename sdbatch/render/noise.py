"""The seed contract: where every random number of a picture comes from.

Each picture has one `torch.Generator` on the CPU, seeded with its row's `seed`. It gives, in this
order, the first noise, of shape (1, channels, height / factor, width / factor) in float32, and then
whatever the scheduler draws at each step (ancestral and SDE samplers), each draw for this picture
alone. Nothing else is random. A plain diffusers call with
`generator=[torch.Generator("cpu").manual_seed(seed), ...]` draws the same numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch


def generators(seeds: Sequence[int]) -> list[torch.Generator]:
    """One CPU generator a picture."""
    return [torch.Generator("cpu").manual_seed(seed) for seed in seeds]


def first_noise(draws: Sequence[torch.Generator], shape: tuple[int, int, int]) -> torch.Tensor:
    """The latents that a batch starts from: (len(draws), channels, height, width) float32 on the CPU.

    Args:
        shape: channels, height and width of one picture's latents.
    """
    return torch.cat([torch.randn((1, *shape), generator=draw, dtype=torch.float32) for draw in draws])
