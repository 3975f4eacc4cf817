"""The seed contract: where every random number of a picture comes from.

Each picture has one `torch.Generator` on the CPU, seeded with its row's `seed`. It gives standard
normal numbers in float32, rounded to the model's dtype, in this order:

1. for each input that the VAE encodes (the picture; then, for inpainting models, the picture with
   its masked part grey), one array of the latents' shape (1, channels, height / f, width / f):
   latents are mean + std * drawn;
2. the first noise, of the shape of the latents to be made;
3. for the x4 upscaler, the noise added to the small picture, (1, 3, height, width), in the model's dtype;
4. whatever the scheduler draws at each step (ancestral and SDE samplers), each draw for this picture
   alone, in the model's dtype.

A mode that has no use for one leaves it out. Tiles of a picture cut their part out of one array of 1
and one of 2 that cover the whole, and take 4 from a generator each, seeded with a whole number from 0
to 2**63 - 1 that the picture's own generator draws next, tile after tile. Nothing else is random. For
txt2img a plain diffusers call with `generator=[torch.Generator("cpu").manual_seed(seed), ...]` draws
the same numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch


def generators(seeds: Sequence[int]) -> list[torch.Generator]:
    """One CPU generator a picture."""
    return [torch.Generator("cpu").manual_seed(seed) for seed in seeds]


def draw(draws: Sequence[torch.Generator], shape: tuple[int, ...]) -> torch.Tensor:
    """The next standard normal numbers of each picture: (len(draws), *shape) float32 on the CPU."""
    return torch.cat([torch.randn((1, *shape), generator=one, dtype=torch.float32) for one in draws])


def split(one: torch.Generator, count: int) -> list[torch.Generator]:
    """A generator for each of `count` tiles, seeded by the picture's own."""
    seeds = torch.randint(0, 2**63 - 1, (count,), generator=one, dtype=torch.int64)
    return generators(seeds.tolist())
