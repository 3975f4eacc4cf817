"""What one value cannot show: whether the values of a row go together, and with its mode and model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from sdbatch import modes
from sdbatch.parameters import PARAMETERS, SEED_MAX, WITH_SIGMAS, steps_problem
from sdbatch.sources import acceleration, finetunes, masks
from sdbatch.spec.columns import Column, combine


def problems(mode: modes.Mode, given: Mapping[str, Column], kinds: Sequence[str]) -> Iterator[tuple[str, str]]:
    """(key, message) for whatever is wrong with rows of one mode.

    Args:
        given: every parameter, as the rows have it.
        kinds: of the rows' models.
    """
    name = given["mode"].values[0]
    yield from _unused(name, mode, given)
    missing = [key for key in mode.NEEDS if None in given[key].values]
    yield from ((key, f"mode {name} needs it in every row") for key in missing)
    for scheduler, sigmas in combine([given["scheduler"], given["sigmas"]])[0]:
        if sigmas is not None and scheduler not in WITH_SIGMAS:
            those = ", ".join(sorted(WITH_SIGMAS))
            yield "sigmas", f"scheduler {scheduler} takes none; these do: {those}"
    for scheduler, steps in combine([given["scheduler"], given["steps"]])[0]:
        if wrong := steps_problem(scheduler, steps):
            yield "steps", wrong
    yield from _named(mode, given)
    for kind in kinds:
        if kind not in mode.PIPELINES:
            yield "model", _unfit(name, mode, kind)
    if not missing:
        yield from _together(mode, given, kinds)
    low, high = given["seed"].bounds()
    if not 0 <= low <= high <= SEED_MAX:
        yield "seed", f"is outside 0 to {SEED_MAX}"


def _unused(name: str, mode: modes.Mode, given: Mapping[str, Column]) -> Iterator[tuple[str, str]]:
    for key, column in given.items():
        if key not in mode.USES and any(value != PARAMETERS[key].default for value in column.values):
            yield key, f"mode {name} has no use for it"


def _named(mode: modes.Mode, given: Mapping[str, Column]) -> Iterator[tuple[str, str]]:
    """The forms of masks, fine-tunes and speed-ups; whether files are there is not looked at, packages are."""
    forms: dict[str, Callable[[Any], str | None]] = {
        "mask": masks.problem,
        "accelerate": lambda value: acceleration.problem(value) or acceleration.missing(value),
        **{kind: partial(finetunes.problem, kind) for kind in finetunes.KINDS},
    }
    for key in sorted(mode.USES & forms.keys()):
        for value in given[key].values:
            if value is not None and (wrong := forms[key](value)):
                yield key, wrong


def _together(mode: modes.Mode, given: Mapping[str, Column], kinds: Sequence[str]) -> Iterator[tuple[str, str]]:
    values: list[tuple[Any, ...]] = combine([given[name] for name in mode.CHECKED])[0] if mode.CHECKED else [()]
    for kind in kinds:
        for each in values:
            if wrong := mode.problem(dict(zip(mode.CHECKED, each, strict=True)), kind):
                yield next((key for key in mode.CHECKED if wrong.startswith(key)), mode.CHECKED[0]), wrong


def _unfit(name: str, mode: modes.Mode, kind: str) -> str:
    others = modes.fitting(kind)
    does = f"which does {', '.join(others)}" if others else "which no mode has a use for"
    return f"is of kind {kind!r}, {does}; mode {name} needs: {', '.join(mode.PIPELINES)}"
