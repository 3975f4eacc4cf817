"""Sampler names → diffusers schedulers, made from a model's own scheduler configuration."""

from __future__ import annotations

from typing import Any

import diffusers

from sdbatch.errors import RowError

_SAMPLERS: dict[str, tuple[str, dict[str, Any]]] = {
    "ddim": ("DDIMScheduler", {}),
    "ddpm": ("DDPMScheduler", {}),
    "deis": ("DEISMultistepScheduler", {"algorithm_type": "deis"}),
    "dpm2": ("KDPM2DiscreteScheduler", {}),
    "dpm2_a": ("KDPM2AncestralDiscreteScheduler", {}),
    "dpmpp_2m": ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++"}),
    "dpmpp_2m_sde": ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
    "dpmpp_2s": ("DPMSolverSinglestepScheduler", {"algorithm_type": "dpmsolver++"}),
    "euler": ("EulerDiscreteScheduler", {}),
    "euler_a": ("EulerAncestralDiscreteScheduler", {}),
    "heun": ("HeunDiscreteScheduler", {}),
    "lcm": ("LCMScheduler", {}),
    "lms": ("LMSDiscreteScheduler", {}),
    # Without the Runge-Kutta steps: they need four steps at least, and double the calls.
    "pndm": ("PNDMScheduler", {"skip_prk_steps": True}),
    "unipc": ("UniPCMultistepScheduler", {}),
}
_SIGMAS = {"karras": "use_karras_sigmas", "exponential": "use_exponential_sigmas", "beta": "use_beta_sigmas"}
_FOREIGN = ("algorithm_type", "solver_type", "lower_order_final", "thresholding", "final_sigmas_type", "variance_type")


def make(name: str, sigmas: str | None, config: dict[str, Any]) -> Any:
    """A fresh scheduler.

    Args:
        config: the configuration of the model's own scheduler.

    Raises:
        RowError: the sampler has no such sigmas.
    """
    class_name, options = _SAMPLERS[name]
    kind = getattr(diffusers, class_name)
    # Settings of the model's own solver would change another one under the same name.
    base = {key: value for key, value in config.items() if key not in _FOREIGN and not key.startswith("use_")}
    if sigmas is not None:
        flag = _SIGMAS[sigmas]
        if flag not in kind._get_init_keys(kind):
            raise RowError(f"scheduler {name} has no {sigmas} sigmas")
        options = {**options, flag: True}
    return kind.from_config(base, **options)
