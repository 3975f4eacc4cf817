"""The seed contract: which numbers a picture draws, and that no neighbour draws them."""

from __future__ import annotations

import pytest
import torch

from sdbatch.render import noise

SHAPE = (4, 3, 5)


def plain(seed: int) -> torch.Generator:
    return torch.Generator("cpu").manual_seed(seed)


@pytest.mark.parametrize("seeds", [[0], [3, 1, 2], [7, 7], [2**32 - 1, 0]])
def test_first_noise_is_torch_randn_of_each_seed(seeds: list[int]) -> None:
    made = noise.draw(noise.generators(seeds), SHAPE)
    expected = [torch.randn((1, *SHAPE), generator=plain(seed), dtype=torch.float32) for seed in seeds]
    assert made.dtype == torch.float32 and made.device.type == "cpu"
    assert torch.equal(made, torch.cat(expected))


def test_what_is_drawn_next_goes_on_where_the_noise_ended() -> None:
    draws = noise.generators([5, 6])
    noise.draw(draws, SHAPE)
    for seed, draw in zip((5, 6), draws, strict=True):
        other = plain(seed)
        torch.randn((1, *SHAPE), generator=other)
        assert torch.equal(torch.randn(7, generator=draw), torch.randn(7, generator=other))


@pytest.mark.parametrize("seeds", [[9], [9, 1, 2, 3], [1, 9], [1, 2, 3, 9]])
def test_the_place_in_the_batch_does_not_matter(seeds: list[int]) -> None:
    alone = noise.draw([plain(9)], SHAPE)[0]
    assert torch.equal(noise.draw(noise.generators(seeds), SHAPE)[seeds.index(9)], alone)


def test_the_global_random_state_is_neither_read_nor_moved() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = noise.draw(noise.generators([3]), SHAPE)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(noise.draw(noise.generators([3]), SHAPE), first)


def test_these_very_numbers() -> None:
    """Were torch's generator ever to change, every picture would; then this says so."""
    drawn = noise.draw(noise.generators([0]), (1, 1, 4)).flatten()
    golden = torch.tensor([1.5409960746765137, -0.293428897857666, -2.1787893772125244, 0.5684312582015991])
    torch.testing.assert_close(drawn, golden, rtol=0, atol=1e-6)
