"""Collecting every mistake in a spec, each with its line, instead of stopping at the first."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Mapping

from sdbatch.errors import Problem, SpecError

Key = tuple[str | int, ...]
"""Where a value stands in a spec: ("grid", "seed", 2)."""

PROBLEMS_MAX = 100
LISTED_MAX = 16


class Problems:
    """The mistakes found so far in one spec.

    Args:
        shown: the spec's path as the user gave it; None for the command line.
        lines: line of each key, where known.
        overridden: keys that came from the command line and thus have no file.
    """

    def __init__(
        self, shown: str | None, lines: Mapping[Key, int] | None = None, overridden: Collection[Key] = ()
    ) -> None:
        self.shown = shown
        self.found: list[Problem] = []
        self._lines = lines or {}
        self._overridden = frozenset(overridden)
        self._more = 0

    def add(self, key: Key, message: str) -> None:
        """Note a mistake at a key of the spec."""
        heads = [key[:size] for size in range(len(key), -1, -1)]
        if any(head in self._overridden for head in heads):
            self.put(Problem(None, None, dotted(key), message))
            return
        line = next((self._lines[head] for head in heads if head in self._lines), None)
        self.put(Problem(self.shown, line, dotted(key), message))

    def lines(self) -> dict[str, int]:
        """Line of each key of the file, by dotted path; those that the command line replaced have none."""
        return {
            dotted(key): line
            for key, line in self._lines.items()
            if not any(key[:size] in self._overridden for size in range(1, len(key) + 1))
        }

    def put(self, problem: Problem) -> None:
        """Note a mistake that has its own place, such as a line of another file."""
        if len(self.found) < PROBLEMS_MAX:
            self.found.append(problem)
        else:
            self._more += 1

    def extend(self, problems: Iterable[Problem]) -> None:
        """Note the mistakes of another reader."""
        for problem in problems:
            self.put(problem)

    def raise_any(self) -> None:
        """End here if anything is wrong.

        Raises:
            SpecError: with all that was found.
        """
        self.found.sort(key=lambda problem: (problem.file != self.shown, problem.line or 0))
        if self._more:
            self.found.append(Problem(self.shown, None, "", f"and {self._more} more mistakes"))
        if self.found:
            raise SpecError(self.found)


def dotted(key: Key) -> str:
    """A key as people write it: grid.seed[2]."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in key)
    return text.removeprefix(".")


ELSEWHERE = {
    "cfg": "guidance_scale", "cfg_scale": "guidance_scale", "guidance": "guidance_scale", "sampler": "scheduler",
    "sampler_name": "scheduler", "sampling_method": "scheduler", "schedule_type": "sigmas", "checkpoint": "model",
    "ckpt": "model", "ckpt_name": "model", "sd_model": "model", "denoise": "strength", "denoising_strength": "strength",
    "num_inference_steps": "steps", "sampling_steps": "steps", "negative": "negative_prompt", "init_image": "image",
    "mask_image": "mask", "controlnet_conditioning_scale": "control_scale", "mask_blur": "mask_feather",
    "noise_seed": "seed",
}  # fmt: skip
"""What other tools call things: AUTOMATIC1111, ComfyUI, diffusers."""


def near(word: str, names: Iterable[str]) -> str:
    """A hint at the nearest name, or nothing."""
    names = list(names)
    other = ELSEWHERE.get(word.lower())
    if other in names:
        return f"; did you mean {other!r}?"
    match = difflib.get_close_matches(word.lower()[:100], names, 1, 0.65)
    return f"; did you mean {match[0]!r}?" if match else ""


def unknown(word: str, names: Collection[str], what: str = "key") -> str:
    """Say that a name is not known, with the nearest one, and all of them where they are few."""
    listed = f"; allowed: {', '.join(names)}" if len(names) <= LISTED_MAX else ""
    return f"unknown {what}{near(word, names)}{listed}"


def show(value: object) -> str:
    """A value for a message, cut to a readable length."""
    text = re.sub(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]", "?", repr(value))
    return text if len(text) <= 60 else text[:57] + "..."
