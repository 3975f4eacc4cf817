"""docs/samplers.md, for docs/generate.py."""

from __future__ import annotations

from sdbatch.parameters import SAMPLER_NAMES, SCHEDULERS, STEPS_MAX, WITH_SIGMAS

SAMPLERS_INTRO = """\
# Samplers

*The table on this page is written by `docs/generate.py` from the code. `make docs` renews it.*

`scheduler: NAME` takes one of these, as a constant, an axis or a column. A sampler is made from the configuration of
the model's own scheduler, of which it keeps what belongs to the model (betas, kind of prediction, spacing) and leaves
what belongs to another solver.

- **calls** is how often the model is asked at each step: 2 takes twice the time. The last step takes one.
- **noise** says whether new noise is drawn on the way. It comes from the row's own seed, so these are as exact as the
  others; their pictures change with the number of steps.
- **sigmas**: whether `sigmas: karras | exponential | beta` may choose the noise levels.
"""

SAMPLERS_NOTES = """\
- `pndm` leaves out the Runge-Kutta steps, which need four steps at least. It asks the model once more than it has
  steps, and, in a mode with `strength`, makes one step more than the others.
- `lms` in a mode with `strength` begins at the first order; diffusers' own takes coefficients there that need earlier
  steps.
- `dpmpp_sde` is written anew: diffusers' class needs the package torchsde and has one seed for a whole batch.
- `heun`, `dpm2` and `dpm2_a` overshoot where levels are far apart: give them eight steps or more.
- `lcm` is meant for models made for it.
- `ddim` takes `eta`; the others have no use for it.
"""


def samplers_page() -> str:
    """docs/samplers.md: every sampler, with its name elsewhere."""
    from sdbatch.render import schedulers

    config = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
    lines = [
        SAMPLERS_INTRO,
        "| `scheduler` | AUTOMATIC1111 | diffusers | calls | noise | sigmas | steps |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in SCHEDULERS:
        options = schedulers.SAMPLERS[name][1]
        shown = ", ".join(f"{key}={value!r}" for key, value in options.items())
        cells = (
            f"`{name}`",
            SAMPLER_NAMES[name],
            f"`{schedulers.original(name)}({shown})`",
            str(schedulers.make(name, None, config).order),
            "with `eta`" if name == "ddim" else "yes" if name in schedulers.RANDOM else "",
            "yes" if name in WITH_SIGMAS else "",
            f"at most {STEPS_MAX[name]}" if name in STEPS_MAX else "",
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", SAMPLERS_NOTES])
