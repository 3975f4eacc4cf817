"""Samplers: every name makes one that works, and what it cannot do is said."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from sdbatch.errors import RowError
from sdbatch.parameters import PARAMETERS, SCHEDULERS, STEPS_MAX, WITH_SIGMAS, steps_problem
from sdbatch.render import schedulers
from sdbatch.sources.models import EMBEDDED

# What diffusers does to NumPy inside its beta sigmas is not this project's news.
pytestmark = pytest.mark.filterwarnings("ignore:__array_wrap__:DeprecationWarning")
SIGMAS = PARAMETERS["sigmas"].choices
SIGMAS_OF = {
    **dict.fromkeys(SCHEDULERS, ()),
    **dict.fromkeys(
        (
            "deis",
            "dpm2",
            "dpm2_a",
            "dpmpp_2m",
            "dpmpp_2m_sde",
            "dpmpp_2s",
            "dpmpp_3m_sde",
            "dpmpp_sde",
            "euler",
            "heun",
            "lms",
            "unipc",
        ),
        SIGMAS,
    ),
}
"""The sigmas that each sampler of diffusers has."""


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    """The configuration of the demo model's own scheduler."""
    path = EMBEDDED / "demo" / "scheduler" / "scheduler_config.json"
    loaded = json.loads(path.read_text(encoding="utf-8"))
    assert isinstance(loaded, dict)
    return loaded


def denoise(scheduler: Any, steps: int) -> torch.Tensor:
    """Go through all steps with a model that sees nothing."""
    scheduler.set_timesteps(steps)
    sample: torch.Tensor = torch.ones(1, 4, 2, 2) * scheduler.init_noise_sigma
    draw = torch.Generator().manual_seed(0)
    drawn = {"generator": draw} if "generator" in scheduler.step.__code__.co_varnames else {}
    for timestep in scheduler.timesteps:
        seen = scheduler.scale_model_input(sample, timestep)
        sample = scheduler.step(torch.zeros_like(seen), timestep, sample, **drawn).prev_sample
    return sample


@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_sampler_takes_four_steps(name: str, config: dict[str, Any]) -> None:
    scheduler = schedulers.make(name, None, config)
    scheduler.set_timesteps(4)
    assert 4 <= len(scheduler.timesteps) <= 8  # samplers of the second order call the model up to twice a step
    assert float(scheduler.timesteps[0]) > float(scheduler.timesteps[-1])
    assert torch.isfinite(denoise(scheduler, 4)).all()


@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_sampler_takes_one_step(name: str, config: dict[str, Any]) -> None:
    assert torch.isfinite(denoise(schedulers.make(name, None, config), 1)).all()


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_sampler_keeps_what_belongs_to_the_model(name: str, config: dict[str, Any]) -> None:
    made = schedulers.make(name, None, config).config
    for key in ("prediction_type", "beta_start", "beta_end", "beta_schedule", "num_train_timesteps"):
        assert made[key] == config[key]


@pytest.mark.parametrize("sigmas", SIGMAS)
@pytest.mark.parametrize("name", SCHEDULERS)
def test_sigmas(name: str, sigmas: str, config: dict[str, Any]) -> None:
    if sigmas not in SIGMAS_OF[name]:
        with pytest.raises(RowError, match=f"^scheduler {name} has no {sigmas} sigmas$"):
            schedulers.make(name, sigmas, config)
        return
    plain, other = schedulers.make(name, None, config), schedulers.make(name, sigmas, config)
    for scheduler in (plain, other):
        scheduler.set_timesteps(6)
    assert plain.sigmas.shape == other.sigmas.shape
    assert not torch.allclose(plain.sigmas, other.sigmas)


def test_the_models_own_solver_does_not_leak_into_another(config: dict[str, Any]) -> None:
    own = {
        **config,
        "use_karras_sigmas": True,
        "algorithm_type": "sde-dpmsolver++",
        "solver_type": "heun",
        "solver_order": 3,
    }
    for name in ("euler", "dpmpp_2m", "deis", "unipc"):
        given, plain = schedulers.make(name, None, own).config, schedulers.make(name, None, config).config
        assert {key: value for key, value in given.items() if key[0] != "_"} == {
            key: value for key, value in plain.items() if key[0] != "_"
        }
        assert not given["use_karras_sigmas"]


def test_two_rows_never_share_a_scheduler(config: dict[str, Any]) -> None:
    before = dict(config)
    assert schedulers.make("pndm", None, config) is not schedulers.make("pndm", None, config)
    assert config == before


def test_every_sampler_gives_another_picture_than_the_next(config: dict[str, Any]) -> None:
    """A name that is only another word for one of the others would be a slip of the table."""
    made = {}
    for name in SCHEDULERS:
        scheduler = schedulers.make(name, None, config)
        kept = {key: value for key, value in sorted(scheduler.config.items()) if key[0] != "_"}
        made[name] = (type(scheduler).__name__, json.dumps(kept, default=str))
    assert len(set(made.values())) == len(SCHEDULERS)


def test_the_spec_knows_which_samplers_have_sigmas() -> None:
    assert {name for name, known in SIGMAS_OF.items() if known} == WITH_SIGMAS


def test_the_most_steps_that_a_sampler_takes(config: dict[str, Any]) -> None:
    assert steps_problem("ddim", 1000) is None and steps_problem("lcm", 50) is None
    assert steps_problem("lcm", 51) == "51 is too many for scheduler lcm; at most 50"
    for name in SCHEDULERS:
        scheduler = schedulers.make(name, None, config)
        scheduler.set_timesteps(50)
        if name in STEPS_MAX:
            with pytest.raises(ValueError, match="smaller than"):
                scheduler.set_timesteps(STEPS_MAX[name] + 1)
        else:
            scheduler.set_timesteps(999)
