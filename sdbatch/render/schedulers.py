"""Sampler names → diffusers schedulers, made from a model's own scheduler configuration."""

from __future__ import annotations

import functools
from typing import Any

import diffusers

from sdbatch.errors import RowError

SAMPLERS: dict[str, tuple[str, dict[str, Any]]] = {
    "ddim": ("DDIMScheduler", {}),
    "ddpm": ("DDPMScheduler", {}),
    "deis": ("DEISMultistepScheduler", {"algorithm_type": "deis"}),
    "dpm2": ("KDPM2DiscreteScheduler", {}),
    "dpm2_a": ("KDPM2AncestralDiscreteScheduler", {}),
    "dpmpp_2m": ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++"}),
    "dpmpp_2m_sde": ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
    "dpmpp_3m_sde": ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++", "solver_order": 3}),
    "dpmpp_sde": ("solvers.DPMSolverSDE", {}),
    "dpmpp_2s": ("DPMSolverSinglestepScheduler", {"algorithm_type": "dpmsolver++"}),
    "euler": ("EulerDiscreteScheduler", {}),
    "euler_a": ("EulerAncestralDiscreteScheduler", {}),
    "heun": ("HeunDiscreteScheduler", {}),
    "lcm": ("LCMScheduler", {}),
    "lms": ("solvers.LMS", {}),
    # Without the Runge-Kutta steps: they need four steps at least, and double the calls.
    "pndm": ("solvers.PLMS", {"skip_prk_steps": True}),
    "unipc": ("UniPCMultistepScheduler", {}),
}
"""The class, diffusers' or one of `solvers`, and its options."""
RANDOM = frozenset("ddpm dpm2_a dpmpp_2m_sde dpmpp_3m_sde dpmpp_sde euler_a lcm".split())
"""Those that draw new noise on the way, each picture's from its own generator; `ddim` does with an `eta`."""
_SIGMAS = {"karras": "use_karras_sigmas", "exponential": "use_exponential_sigmas", "beta": "use_beta_sigmas"}
_FOREIGN = (
    "algorithm_type", "solver_type", "solver_order", "solver_p", "predictor_order", "corrector_order", "tau_func",
    "predict_x0", "disable_corrector", "lower_order_final", "euler_at_final", "thresholding", "final_sigmas_type",
    "variance_type", "noise_sampler_seed", "interpolation_type",
)  # fmt: skip


def make(name: str, sigmas: str | None, config: dict[str, Any]) -> Any:
    """A fresh scheduler.

    Args:
        config: the configuration of the model's own scheduler.

    Raises:
        RowError: the sampler has no such sigmas.
    """
    title, options = SAMPLERS[name]
    kind = _class(title)
    # Settings of the model's own solver would change another one under the same name.
    base = {key: value for key, value in config.items() if key not in _FOREIGN and not key.startswith("use_")}
    if sigmas is not None:
        flag = _SIGMAS[sigmas]
        if flag not in kind._get_init_keys(kind):
            raise RowError(f"scheduler {name} has no {sigmas} sigmas")
        options = {**options, flag: True}
    return _from_the_start(kind.from_config(base, **options))


def original(name: str) -> str:
    """The name of diffusers' class that a sampler is, or is made from."""
    kind = _class(SAMPLERS[name][0])
    return str(getattr(kind, "ORIGINAL", kind.__name__))


def _class(title: str) -> Any:
    module, _, name = title.rpartition(".")
    if not module:
        return getattr(diffusers, name)
    from sdbatch.render import solvers  # with them comes scipy.stats, most of a second that few rows need

    return getattr(solvers, name)


def _from_the_start(scheduler: Any) -> Any:
    """Begin at the first timestep, unless a pipeline says otherwise.

    txt2img leaves it to the scheduler to find its place by the timestep, which takes the second of two
    alike. With `beta` sigmas the first two are, from some thirty steps on.
    """
    if not hasattr(scheduler, "set_begin_index"):
        return scheduler
    original = scheduler.set_timesteps

    @functools.wraps(original)
    def set_timesteps(*given: Any, **named: Any) -> None:
        original(*given, **named)
        scheduler.set_begin_index(0)

    scheduler.set_timesteps = set_timesteps
    return scheduler
