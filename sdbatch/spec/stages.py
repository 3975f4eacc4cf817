"""`stages:` → one spec a stage: the top level's values with the stage's own over them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from sdbatch import modes
from sdbatch.errors import Problem, UsageError
from sdbatch.parameters import PARAMETERS
from sdbatch.sources.parents import TAKING
from sdbatch.spec import conditions
from sdbatch.spec.build import Above, Origin, build, is_axis
from sdbatch.spec.problems import Key, Problems, near, show, unknown
from sdbatch.spec.recipes import Recipe
from sdbatch.spec.schema import FEEDS, KEYS, STAGE_KEYS, STAGES_MAX, TOP_KEYS, WHOLE, JobSpec, Stage, Top
from sdbatch.spec.settings import Sections

_SCORED = ("prompt", "prompt_syntax")
"""What a score stage has from its input, where it says nothing else: the words that a picture was made by."""
_NAME = re.compile(r"[^\W\d]\w{0,63}\Z")
_TAKEN = re.compile(r"\{([^\W\d]\w*)\.([^\W\d]\w*)\}\Z")


def job(data: Sections, origin: Origin, problems: Problems, recipe: Recipe | None = None) -> JobSpec:
    """A whole spec, with stages or without. As `build`, of each stage; the first one holds those after it."""
    raw = data.get("stages")
    top = {key: value for key, value in data.items() if key != "stages"}
    if raw is None:
        if data.get("mode") == modes.SCORE:
            problems.add(("mode",), "score is about the pictures of another stage; write it as a stage with an input")
        given = None if recipe is None else Above(Stage(), recipe.columns, {})
        return replace(build(top, origin, problems, given), recipe=recipe)
    if not isinstance(raw, list) or not 1 <= len(raw) <= STAGES_MAX or not all(isinstance(one, dict) for one in raw):
        problems.add(("stages",), f"{show(raw)} is not a list of stages, 1 to {STAGES_MAX}, each a mapping with a name")
        return build(top, origin, problems)
    _check_names(raw, problems)
    problems.raise_any()
    used: set[str] = set()
    made: list[JobSpec] = []
    above: dict[str, frozenset[str]] = {}
    for at, own in enumerate(raw):
        spec = _Reader(top, own, at, problems, made, above).read(origin, used)
        above[spec.stage.name] = frozenset({*PARAMETERS, *_free(spec, above), *_OF_A_ROW})
        made.append(spec)
    for key in top.keys() & PARAMETERS.keys() - used:
        problems.add((key,), "no stage has a use for it")
    return replace(made[0], later=tuple(made[1:]))


_OF_A_ROW = ("id", "row", "path")


def _free(spec: JobSpec, above: Mapping[str, frozenset[str]]) -> frozenset[str]:
    """The free names that a stage's rows have: those of its input too."""
    names = {axis.name for axis in (*spec.axes, *spec.zip)} | {name for entry in spec.include for name in entry}
    if spec.rows is not None:
        from sdbatch.spec import tables  # pyarrow: only where there is a table

        names |= set(tables.columns(spec.rows))
    inherited = above.get(spec.stage.input or "", frozenset())
    return frozenset({*names, *inherited} - PARAMETERS.keys() - {*_OF_A_ROW})


def _check_names(raw: list[dict[str, Any]], problems: Problems) -> None:
    seen: set[str] = set()
    for at, own in enumerate(raw):
        name = own.get("name")
        if not isinstance(name, str) or not _NAME.match(name):
            problems.add(("stages", at, "name"), f"{show(name)} is not a name: letters, digits and _, no digit first")
        elif name.casefold() in seen:
            problems.add(("stages", at, "name"), f"{show(name)} is the name of two stages")
        else:
            seen.add(name.casefold())


@dataclass
class _Reader:
    """One stage.

    Attributes:
        top: the spec but for its stages.
        own: the stage as written.
        at: which one it is.
        made: the stages before.
        above: the names that rows of those have.
    """

    top: Sections
    own: Sections
    at: int
    problems: Problems
    made: list[JobSpec]
    above: Mapping[str, frozenset[str]]

    def read(self, origin: Origin, used: set[str]) -> JobSpec:
        """The stage's spec; the top level's keys that it has a use for are added to `used`."""
        input_, taken = self._input(), self._taken()
        shared = self._shared(input_)
        if input_ is not None and {**shared, **self.own}.get("mode") == modes.SCORE:
            taken |= {key: (input_, key) for key in _SCORED if key not in self.own}
        given = {**shared, **{key: value for key, value in self.own.items() if key not in STAGE_KEYS}}
        data = {key: value for key, value in given.items() if key not in taken}
        if isinstance(self.top.get("output"), dict) and isinstance(self.own.get("output"), dict):
            data["output"] = {**self.top["output"], **self.own["output"]}
        self._check_own()
        mode = data.get("mode", PARAMETERS["mode"].default)
        picture = self._picture(mode, data, input_)
        used.update(shared)
        stage = Stage(self.own["name"], input_, picture, taken, self._when(input_), self._top(input_), False)
        columns = () if input_ is None else (picture, *taken, *sorted(self._inherited(data, input_)))
        self.problems.raise_any()  # what is read of such a stage would only add to it
        within = _Within(self.problems, self.at, self.own)
        names = {name: self.above[name] for name in self._ancestors()}
        return build(data, origin, within, Above(stage, columns, names))

    def _shared(self, input_: str | None) -> dict[str, Any]:
        """What the top level gives this stage: no rows but to the first, and nothing that its mode has no use for."""
        mode = self.own.get("mode", self.top.get("mode", PARAMETERS["mode"].default))
        try:
            uses = modes.get(mode).USES if isinstance(mode, str) else frozenset(PARAMETERS)
        except UsageError:
            uses = frozenset(PARAMETERS)
        kept = {}
        for key, value in self.top.items():
            axis = key in PARAMETERS and is_axis(key, value)
            if self.at and (key in FEEDS or axis):
                continue
            if key in PARAMETERS and key not in uses | {"mode"} and not axis:
                continue
            if input_ is None or key not in TAKING:
                kept[key] = value
        return kept

    def _inherited(self, data: Sections, input_: str) -> Iterable[str]:
        """Free columns of the input, but for those that the stage's own axes give."""
        own = {name for key in ("grid", "zip") if isinstance(data.get(key), dict) for name in data[key]}
        return self.above[input_] - PARAMETERS.keys() - {*_OF_A_ROW} - own

    def _check_own(self) -> None:
        allowed = [*STAGE_KEYS, *(key for key in KEYS if key not in (*WHOLE, "name"))]
        for key in self.own:
            if key in WHOLE:
                self._add(key, "belongs to the whole job; write it at the top level")
            elif key not in allowed:
                self._add(
                    key, unknown(key, allowed) + ("" if near(key, allowed) else "; a free name belongs under grid:")
                )
        if isinstance(self.own.get("output"), dict) and "dir" in self.own["output"]:
            self._add(("output", "dir"), "all stages share one run directory; write it at the top level")

    def _input(self) -> str | None:
        given = self.own.get("input")
        names = [spec.stage.name for spec in self.made]
        if given is None or given in names:
            return given
        there = f"one of: {', '.join(names)}" if names else "there is none before the first"
        self._add("input", f"{show(given)} is not an earlier stage{near(str(given), names)}; {there}")
        self.problems.raise_any()
        return None

    def _picture(self, mode: Any, data: Sections, input_: str | None) -> str:
        """The parameter that takes the input's pictures."""
        if input_ is None:
            return TAKING[0]
        if not isinstance(mode, str) or any(
            "mode" in data[key] for key in ("grid", "zip") if isinstance(data.get(key), dict)
        ):
            self._add("mode", "of a stage with an input is one value")
            return TAKING[0]
        for section in ("rows", "include"):
            if data.get(section) is not None:
                self._add(section, f"the rows of a stage with an input are made from those of {input_!r}")
        try:
            uses = modes.get(mode).USES
        except UsageError:
            return TAKING[0]  # said by `build`
        picture = next((name for name in TAKING if name in uses), None)
        if picture is None:
            self._add(
                "mode" if "mode" in self.own else "input",
                f"mode {mode} takes no picture, and stage {input_!r} gives one",
            )
            return TAKING[0]
        if picture in data:
            self._add(picture, f"is the picture of stage {input_!r}; leave it out")
        return picture

    def _taken(self) -> dict[str, tuple[str, str]]:
        """Values such as `"{base.seed}"`: the earlier row's own."""
        taken = {}
        for key, value in self.own.items():
            found = _TAKEN.match(value) if isinstance(value, str) and key in PARAMETERS else None
            if found is None:
                continue
            stage, name = found[1], found[2]
            if key in ("mode", "model", "revision"):
                self._add(key, "of a stage is one value, or an axis of its own")
            elif stage not in self._ancestors():
                self._add(key, f"there is no stage {stage!r} above this one{near(stage, self._ancestors())}")
            elif name not in self.above[stage]:
                self._add(key, f"stage {stage!r} has no {name!r}{near(name, self.above[stage])}")
            elif name not in PARAMETERS or PARAMETERS[name].kind != PARAMETERS[key].kind:
                self._add(key, f"{{{stage}.{name}}} is no {PARAMETERS[key].kind}; take a parameter of the same kind")
            else:
                taken[key] = (stage, name)
        return taken

    def _ancestors(self) -> list[str]:
        """The stages whose rows a row of this one comes from."""
        inputs = {spec.stage.name: spec.stage.input for spec in self.made}
        found, at = [], self.own.get("input")
        while isinstance(at, str) and at in inputs:
            found.append(at)
            at = inputs[at]
        return found

    def _when(self, input_: str | None) -> str | None:
        given = self.own.get("when")
        if given is None:
            return None
        if input_ is None:
            self._add("when", "is about the records of the input, and there is no input:")
        try:
            conditions.parse(given if isinstance(given, str) else show(given))
        except ValueError as error:
            self._add("when", str(error))
        return str(given)

    def _top(self, input_: str | None) -> Top | None:
        given = self.own.get("top")
        if given is None:
            return None
        if not isinstance(given, dict) or not isinstance(given.get("by"), str):
            self._add("top", f"{show(given)} is not such as {{by: score, per: prompt, n: 3}}")
            return None
        for key in given.keys() - {*TOP_KEYS}:
            self._add(("top", key), unknown(key, TOP_KEYS))
        per = given.get("per") or []
        per = [per] if isinstance(per, str) else per
        if not isinstance(per, list) or not all(isinstance(name, str) for name in per):
            self._add(("top", "per"), f"{show(per)} is not a name or a list of names")
            per = []
        for key, low in (("n", 1), ("distinct", 0)):
            value = given.get(key)
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < low):
                self._add(("top", key), f"{show(value)} is not a whole number of at least {low}")
                return None
        if input_ is None:
            self._add("top", "is about the records of the input, and there is no input:")
        return Top(given["by"], tuple(per), given.get("n") or 1, given.get("distinct"))

    def _add(self, key: str | Key, message: str) -> None:
        self.problems.add(("stages", self.at, *((key,) if isinstance(key, str) else key)), message)


class _Within(Problems):
    """Mistakes of a stage: at its own keys where it has them, else at the top level's, and each once."""

    def __init__(self, whole: Problems, at: int, own: Sections) -> None:
        self._whole, self._at, self._own = whole, at, own
        self.shown, self.found = whole.shown, whole.found

    def add(self, key: Key, message: str) -> None:
        """Note a mistake at a key of the stage."""
        before = list(self.found)
        self._whole.add(("stages", self._at, *key) if key and key[0] in self._own else key, message)
        if self.found and self.found[-1] in before:
            self.found.pop()

    def lines(self) -> dict[str, int]:
        """Line of each key as the stage sees it."""
        prefix = f"stages[{self._at}]."
        lines = self._whole.lines()
        own = {key.removeprefix(prefix): line for key, line in lines.items() if key.startswith(prefix)}
        return {**{key: line for key, line in lines.items() if not key.startswith("stages")}, **own}

    def put(self, problem: Problem) -> None:
        """Note a mistake that has its own place, once."""
        if problem not in self.found:
            self._whole.put(problem)

    def raise_any(self) -> None:
        """As the whole spec's."""
        self._whole.raise_any()
