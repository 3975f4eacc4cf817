"""Samplers that start late, and noise that is each picture's own."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch

from sdbatch.parameters import SCHEDULERS, WITH_SIGMAS
from sdbatch.render import schedulers, solvers

# What diffusers does to NumPy inside its levels is not this project's news.
pytestmark = pytest.mark.filterwarnings("ignore:__array_wrap__:DeprecationWarning")
CONFIGS: dict[str, dict[str, Any]] = {
    "the demo model's": {"prediction_type": "v_prediction", "timestep_spacing": "trailing", "beta_end": 0.02},
    "Stable Diffusion 1.5's": {"prediction_type": "epsilon", "timestep_spacing": "leading", "beta_end": 0.012},
}
COMMON = {
    "num_train_timesteps": 1000, "beta_start": 0.00085, "beta_schedule": "scaled_linear", "clip_sample": False,
    "set_alpha_to_one": False, "steps_offset": 1,
}  # fmt: skip
Draws = torch.Generator | list[torch.Generator]


def make(name: str, config: Mapping[str, Any], sigmas: str | None = None) -> Any:
    return schedulers.make(name, sigmas, {**COMMON, **config})


class Seer:
    """A model that knows the picture and is always right."""

    def __init__(self, scheduler: Any, picture: torch.Tensor) -> None:
        alphas = scheduler.alphas_cumprod.double().numpy()
        self._logs, self._kind = 0.5 * np.log((1 - alphas) / alphas), scheduler.config.prediction_type
        self._picture = picture

    def __call__(self, seen: torch.Tensor, timestep: Any) -> torch.Tensor:
        sigma = float(np.exp(np.interp(float(timestep), np.arange(len(self._logs)), self._logs)))
        signal, noise = 1 / (1 + sigma**2) ** 0.5, sigma / (1 + sigma**2) ** 0.5
        guess = (seen - signal * self._picture) / noise
        return guess if self._kind == "epsilon" else signal * guess - noise * self._picture


def denoise(scheduler: Any, picture: torch.Tensor, steps: int, begin: int = 0, draws: Draws | None = None) -> Any:
    """As the img2img pipeline goes about it, from the `begin`-th of `steps` on."""
    scheduler.set_timesteps(steps)
    timesteps = scheduler.timesteps[begin * scheduler.order :]
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(begin * scheduler.order)
    start = torch.randn(picture.shape, generator=torch.Generator().manual_seed(1))
    sample = scheduler.add_noise(picture, start, timesteps[:1])
    model = Seer(scheduler, picture)
    drawn = {"generator": draws} if "generator" in inspect.signature(scheduler.step).parameters else {}
    for timestep in timesteps:
        seen = scheduler.scale_model_input(sample, timestep)
        sample = scheduler.step(model(seen, timestep), timestep, sample, **drawn).prev_sample
    return sample


@pytest.fixture
def picture() -> torch.Tensor:
    return torch.linspace(-1, 1, 256).reshape(1, 4, 8, 8)


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_model_that_is_right_gets_its_picture_wherever_it_starts(
    name: str, config: str, picture: torch.Tensor
) -> None:
    for begin in (0, 1, 7, 18, 19):
        draws = torch.Generator().manual_seed(begin)
        found = denoise(make(name, CONFIGS[config]), picture, 20, begin, draws)
        # The last level of some is not zero: a trace of noise is left, as diffusers means it.
        assert (found - picture).abs().max() < 0.15, begin


@pytest.mark.parametrize("sigmas", ["karras", "exponential", "beta"])
@pytest.mark.parametrize("name", sorted(WITH_SIGMAS))
def test_many_steps_with_levels_that_crowd_at_the_start(name: str, sigmas: str, picture: torch.Tensor) -> None:
    """With beta sigmas the first timesteps are alike."""
    for config in CONFIGS.values():
        scheduler = make(name, config, sigmas)
        scheduler.set_timesteps(60)
        sample = torch.randn(picture.shape, generator=torch.Generator().manual_seed(1)) * scheduler.init_noise_sigma
        model, draw = Seer(scheduler, picture), torch.Generator().manual_seed(2)
        drawn = {"generator": draw} if "generator" in inspect.signature(scheduler.step).parameters else {}
        for timestep in scheduler.timesteps:  # as txt2img, which never says where it begins
            seen = scheduler.scale_model_input(sample, timestep)
            sample = scheduler.step(model(seen, timestep), timestep, sample, **drawn).prev_sample
        assert (sample - picture).abs().max() < 0.2


@pytest.mark.parametrize("name", SCHEDULERS)
def test_noise_on_the_way_is_each_pictures_own(name: str, picture: torch.Tensor) -> None:
    """Every step is a sum and product a value, so that the noise alone can make a batch differ."""
    config = CONFIGS["the demo model's"]

    def last(seeds: list[int]) -> list[torch.Tensor]:
        draws = [torch.Generator().manual_seed(seed) for seed in seeds]
        scheduler = make(name, config)
        scheduler.set_timesteps(6)
        sample = torch.ones(len(seeds), 4, 8, 8) * scheduler.init_noise_sigma
        drawn = {"generator": draws} if "generator" in inspect.signature(scheduler.step).parameters else {}
        for timestep in scheduler.timesteps:
            seen = scheduler.scale_model_input(sample, timestep)
            sample = scheduler.step(seen * 0.1, timestep, sample, **drawn).prev_sample
        return list(sample)

    first, second, third = last([5, 6, 7])
    assert torch.equal(last([6])[0], second) and torch.equal(last([7, 5])[1], first)
    assert torch.equal(first, third) == (name not in schedulers.RANDOM)


def test_lms_makes_a_whole_run_as_diffusers_does() -> None:
    from diffusers import LMSDiscreteScheduler

    found = []
    for kind in (solvers.LMS, LMSDiscreteScheduler):
        scheduler = kind(**{key: value for key, value in COMMON.items() if key.startswith(("beta", "num"))})
        scheduler.set_timesteps(9)
        sample = torch.ones(1, 4, 2, 2) * scheduler.init_noise_sigma
        for timestep in scheduler.timesteps:
            seen = scheduler.scale_model_input(sample, timestep)
            sample = scheduler.step(seen.sin(), timestep, sample).prev_sample
        found.append(sample)
    assert torch.equal(*found)


@pytest.mark.parametrize("steps", [1, 2, 3, 9])
def test_plms_makes_a_whole_run_as_diffusers_does(steps: int) -> None:
    from diffusers import PNDMScheduler

    found = []
    for kind in (solvers.PLMS, PNDMScheduler):
        scheduler = kind(skip_prk_steps=True, timestep_spacing="trailing")
        scheduler.set_timesteps(steps)
        sample = torch.ones(1, 4, 2, 2)
        for timestep in scheduler.timesteps:
            sample = scheduler.step(sample.sin(), timestep, sample, return_dict=False)[0]
        found.append(sample)
    assert torch.equal(*found)


def test_the_brownian_motion_of_a_step_goes_on_from_its_middle(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[torch.Tensor, float, float]] = []
    original = solvers._ancestral

    def ancestral(sample: Any, clean: Any, noise: torch.Tensor, start: Any, end: Any) -> Any:
        asked.append((noise, float(start), float(end)))
        return original(sample, clean, noise, start, end)

    monkeypatch.setattr(solvers, "_ancestral", ancestral)
    scheduler = make("dpmpp_sde", CONFIGS["Stable Diffusion 1.5's"])
    scheduler.set_timesteps(3)
    assert len(scheduler.timesteps) == 5
    sample = torch.ones(1, 4, 64, 64)
    for timestep in scheduler.timesteps:
        scheduler.scale_model_input(sample, timestep)
        scheduler.step(
            torch.zeros_like(sample), timestep, sample, generator=torch.Generator().manual_seed(int(timestep))
        )
    assert len(asked) == 4  # the last step draws nothing
    for (half, start, middle), (whole, again, end) in zip(asked[::2], asked[1::2], strict=True):
        assert start == again and middle == pytest.approx((start * end) ** 0.5, rel=1e-5)
        assert float(whole.std()) == pytest.approx(1, abs=0.03)
        together = float((half * whole).mean())
        assert together == pytest.approx(((start - middle) / (start - end)) ** 0.5, abs=0.03)


def test_the_middle_of_a_step_is_seen_at_its_own_timestep() -> None:
    scheduler = make("dpmpp_sde", CONFIGS["the demo model's"])
    scheduler.set_timesteps(5)
    times = scheduler.timesteps.tolist()
    assert times == sorted(times, reverse=True) and len(set(times)) == 9
    logs = np.log(((1 - scheduler.alphas_cumprod) / scheduler.alphas_cumprod).sqrt().numpy())
    for at in (1, 3, 5, 7):
        middle = float((scheduler.sigmas[at - 1] * scheduler.sigmas[at]) ** 0.5)
        assert np.exp(np.interp(times[at], np.arange(1000), logs)) == pytest.approx(middle, rel=1e-3)
