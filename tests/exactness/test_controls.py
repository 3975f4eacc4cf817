"""What would break the promise is caught: each mistake that a renderer may make, made on purpose."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from exactly import PROMPTS, Bench, Job, Pixels, Way, differing, job

from sdbatch.render import acceleration, noise
from sdbatch.render.finetunes import FineTunes
from sdbatch.render.renderer import Renderer
from sdbatch.render.text import Encoded, Texts
from sdbatch.workers import dispatch

Patch = pytest.MonkeyPatch
SEEDS = {"seed": [1, 2, 3]}
RANDOM = "diffusers.schedulers.scheduling_euler_ancestral_discrete.randn_tensor"


def unpadded(patch: Patch) -> None:
    """Batches are as large as they have rows."""
    batch = Renderer._batch
    patch.setattr(Renderer, "_batch", lambda self, context, rows, size, chunks: batch(self, context, rows, 1, chunks))


def one_generator(patch: Patch) -> None:
    """A batch draws from the generator of its first picture."""
    given = noise.generators
    patch.setattr(noise, "generators", lambda seeds: given(seeds[:1]) * len(seeds))


def global_sampler(patch: Patch) -> None:
    """A sampler draws on the way from torch's own generator."""
    torch.manual_seed(0)
    patch.setattr(RANDOM, lambda shape, generator, device, dtype: torch.randn(shape, dtype=dtype))


def seeded_once(patch: Patch) -> None:
    """A run is seeded when it begins, and never again: the whole of it can be repeated, and no row of it can."""
    run = dispatch.run

    def seeded(*given: Any, **named: Any) -> Any:
        torch.manual_seed(0)
        return run(*given, **named)

    def drawn(seeds: Sequence[int]) -> list[torch.Generator]:
        return [torch.Generator("cpu").manual_seed(int(torch.randint(2**32, (1,)))) for _ in seeds]

    patch.setattr(dispatch, "run", seeded)
    patch.setattr(noise, "generators", drawn)


def mean_of_neighbours(patch: Patch) -> None:
    """Emphasis keeps the mean of all prompts of a batch, as in the web UI, not each one's."""
    encode = Texts.encode

    def encoded(self: Texts, texts: Sequence[str], **how: Any) -> Encoded:
        found = encode(self, texts, **how)
        means = found.embeds.mean(dim=(1, 2), keepdim=True)
        return Encoded(found.embeds * (means.mean() / means), found.pooled)

    patch.setattr(Texts, "encode", encoded)


def length_of_neighbours(patch: Patch) -> None:
    """A short prompt beside a long one is made as long."""

    def by_length(self: Renderer, context: Any, rows: Sequence[Any], ready: Sequence[int]) -> dict[int, list[int]]:
        return {max(self._chunks(rows[at].params) for at in ready): list(ready)}

    patch.setattr(Renderer, "_by_length", by_length)


def fine_tune_left_on(patch: Patch) -> None:
    """Rows without fine-tunes are made with those of the rows before."""
    use = FineTunes.use
    patch.setattr(FineTunes, "use", lambda self, loras, *rest: use(self, loras, *rest) if loras else False)


def speed_up_left_on(patch: Patch) -> None:
    """Rows without a speed-up are made with that of the rows before."""
    on, last = acceleration.on, [None]

    def left(pipe: Any, wanted: Any, size: tuple[int, int]) -> Any:
        last[0] = wanted or last[0]
        return on(pipe, last[0], size)

    patch.setattr(acceleration, "on", left)


ALL = ("alone", "shuffled", "more", "fewer", "three", "continued")
TEXTS = job("txt2img", {"prompt": PROMPTS[:2], **SEEDS})
LONG = job("txt2img", {"prompt": PROMPTS[::2], **SEEDS})
TUNED = job("txt2img", {"loras": [[], ["strong"]], **SEEDS})
SPED = job("txt2img", {"accelerate": [None, {"tome": 0.5}], **SEEDS})
CONTROLS = [
    pytest.param(unpadded, job("txt2img", {"guidance_scale": [3, 4, 5], **SEEDS}), ("alone",), id="unpadded"),
    pytest.param(one_generator, TEXTS, ("alone", "shuffled", "more"), id="one generator"),
    pytest.param(global_sampler, {**TEXTS, "scheduler": "euler_a"}, ALL, id="global sampler"),
    pytest.param(seeded_once, TEXTS, ("alone", "shuffled", "more", "fewer", "continued"), id="seeded once"),
    pytest.param(mean_of_neighbours, TEXTS, ("alone", "shuffled", "more"), id="mean of neighbours"),
    pytest.param(length_of_neighbours, LONG, ("alone", "more"), id="length of neighbours"),
    pytest.param(fine_tune_left_on, TUNED, ("alone", "shuffled"), id="fine-tune left on"),
    pytest.param(speed_up_left_on, SPED, ("alone", "shuffled"), id="speed-up left on"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("mistake", "given", "caught"), CONTROLS)
def test_a_mistake_is_caught(
    mistake: Callable[[Patch], None],
    given: Job,
    caught: tuple[str, ...],
    new_bench: Callable[[], Bench],
    ways: Callable[[Bench], dict[str, Way]],
    monkeypatch: Patch,
) -> None:
    """By all the ways that can see it; `global sampler` is seen by every one."""
    mistake(monkeypatch)
    bench = new_bench()
    reference = bench.batched(given)
    every = ways(bench)
    found = differing({name: every[name] for name in caught}, reference, given)
    assert all(found.values()), {name: len(odd) for name, odd in found.items()}


@pytest.mark.ray
def test_a_mistake_on_actors_is_caught(
    new_bench: Callable[[], Bench], ways: Callable[[Bench], dict[str, Way]], monkeypatch: Patch
) -> None:
    """Workers that number their own draws agree with one worker, and not with two."""
    from sdbatch.workers import ray as pools

    plain = pools._Actor

    # A Ray actor's class is made when Ray is imported, so that mypy does not see what it is.
    class Counting(plain):  # type: ignore[misc, valid-type]
        """Made here, so that it travels to the actors by value, and the mistake with it."""

        def __init__(self, task: Any) -> None:
            import itertools

            import torch

            from sdbatch.render import noise

            numbers = itertools.count()
            noise.generators = lambda seeds: [torch.Generator("cpu").manual_seed(next(numbers)) for _ in seeds]
            super().__init__(task)

    monkeypatch.setattr(pools, "_Actor", Counting)
    numbers = itertools.count()
    monkeypatch.setattr(
        noise, "generators", lambda seeds: [torch.Generator("cpu").manual_seed(next(numbers)) for _ in seeds]
    )
    bench = new_bench()
    given = job("txt2img", {"seed": list(range(12))})
    reference: Pixels = bench.batched(given)
    found = differing({"ray": ways(bench)["ray"]}, reference, given)
    assert 0 < len(found["ray"]) < 12, "the first batch of a worker agrees, what two share does not"
