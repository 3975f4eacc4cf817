"""Schedulers of diffusers that need a change here: late starts (img2img), or noise of each picture's own."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from diffusers import HeunDiscreteScheduler, LMSDiscreteScheduler, PNDMScheduler
from diffusers.schedulers.scheduling_utils import SchedulerOutput
from diffusers.utils.torch_utils import randn_tensor

Generators = list[torch.Generator] | torch.Generator | None


class LMS(LMSDiscreteScheduler):
    """Linear multistep that starts at the first order wherever it starts.

    The original takes the number of the step for the number of slopes seen so far, and a late start's
    first steps get coefficients that are not meant for them.
    """

    ORIGINAL = "LMSDiscreteScheduler"

    def step(
        self, model_output: torch.Tensor, timestep: Any, sample: torch.Tensor, order: int = 4, return_dict: bool = True
    ) -> Any:
        """As the original, of at most the order that the slopes seen so far allow."""
        return super().step(model_output, timestep, sample, min(order, len(self.derivatives) + 1), return_dict)


class PLMS(PNDMScheduler):
    """Pseudo linear multistep that can start late.

    The original makes its first step in two calls, for which the second timestep stands twice in the
    list. A late start begins behind or between the two: there its first step is a plain one, as the
    other multistep samplers begin.
    """

    ORIGINAL = "PNDMScheduler"

    counter: int
    _late = False

    def step_plms(
        self, model_output: torch.Tensor, timestep: Any, sample: torch.Tensor, return_dict: bool = True
    ) -> Any:
        """As the original from the list's first timestep on; else without the correction of the first step."""
        if self.counter == 0:
            if not self._late and len(self.timesteps) > 2 and timestep == self.timesteps[1] != self.timesteps[0]:
                self._late = True
                return SchedulerOutput(prev_sample=sample) if return_dict else (sample,)
            self._late = self._late or bool(timestep != self.timesteps[0])
        made = super().step_plms(model_output, timestep, sample, return_dict)
        if self._late:
            self.counter, self._late = 2, False
        return made


class DPMSolverSDE(HeunDiscreteScheduler):
    """DPM-Solver++ (SDE), whose Brownian motion is drawn from each picture's generator.

    Algorithm of k-diffusion's `sample_dpmpp_sde` (after Lu et al., 2022, arXiv 2211.01095, with
    ancestral noise): a step goes to the middle, half way in log sigma, and from its start again to its
    end with what the model saw there. diffusers' class of the name needs the package torchsde and has
    one seed for the whole batch. Steps are laid out as Heun's: two calls each, but one for the last.
    """

    ORIGINAL = "DPMSolverSDEScheduler"

    timesteps: torch.Tensor
    _start: tuple[torch.Tensor, torch.Tensor] | None = None
    """Sample and noise of a step's first half, between its two calls."""

    def set_timesteps(self, *given: Any, **named: Any) -> None:
        """As Heun's, with every second call in the middle of a step."""
        super().set_timesteps(*given, **named)
        self._start = None
        levels = np.log(np.sqrt((1 - self.alphas_cumprod.numpy()) / self.alphas_cumprod.numpy()))
        middles = [float(self._middle(at)) for at in range(0, len(self.sigmas) - 2, 2)]
        timesteps: torch.Tensor = self.timesteps.clone()
        for at, sigma in enumerate(middles):
            timesteps[2 * at + 1] = float(self._sigma_to_t(np.array(sigma), levels))
        self.timesteps = timesteps

    def scale_model_input(self, sample: torch.Tensor, timestep: Any) -> torch.Tensor:
        """Scale by the noise that the sample has: of the step's start, or of its middle."""
        if self.step_index is None:
            self._init_step_index(timestep)
        return sample / (self._level() ** 2 + 1) ** 0.5

    def step(
        self,
        model_output: torch.Tensor,
        timestep: Any,
        sample: torch.Tensor,
        generator: Generators = None,
        return_dict: bool = True,
    ) -> Any:
        """One call: to the middle of a step, or from its start to its end; each draws once from each generator."""
        if self.step_index is None:
            self._init_step_index(timestep)
        clean = self._clean(model_output, sample, self._level())
        first = self._start is None
        at = self.step_index if first else self.step_index - 1
        sigma, end = self.sigmas[at], self.sigmas[at + 1]
        if end == 0:
            made = clean
        else:
            noise = randn_tensor(sample.shape, generator=generator, device=sample.device, dtype=sample.dtype)
            if self._start is None:
                self._start = (sample, noise)
                end = self._middle(at)
            else:
                (sample, half), self._start = self._start, None
                middle = self._middle(at)
                # The motion up to the end is that up to the middle and on.
                whole = (sigma - end).clamp(min=1e-12) ** 0.5  # two levels may be one
                noise = (half * (sigma - middle) ** 0.5 + noise * (middle - end) ** 0.5) / whole
            made = _ancestral(sample, clean, noise, sigma, end)
        self._step_index += 1
        made = made.to(model_output.dtype)
        return SchedulerOutput(prev_sample=made) if return_dict else (made,)

    def _middle(self, at: int) -> torch.Tensor:
        return (self.sigmas[at] * self.sigmas[at + 1]) ** 0.5

    def _level(self) -> torch.Tensor:
        return self.sigmas[self.step_index] if self._start is None else self._middle(self.step_index - 1)

    def _clean(self, output: torch.Tensor, sample: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        """The picture without noise that the model sees."""
        kind = self.config.prediction_type
        if kind == "epsilon":
            return sample - sigma * output
        return sample / (sigma**2 + 1) - output * sigma / (sigma**2 + 1) ** 0.5 if kind == "v_prediction" else output


def _ancestral(
    sample: torch.Tensor, clean: torch.Tensor, noise: torch.Tensor, start: torch.Tensor, end: torch.Tensor
) -> torch.Tensor:
    """From noise level `start` below `end`, and up to it again with new noise."""
    up = min(end, (end**2 * (start**2 - end**2) / start**2) ** 0.5)
    share = (end**2 - up**2) ** 0.5 / start
    return share * sample + (1 - share) * clean + up * noise
