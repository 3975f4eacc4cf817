"""Names: what templates use, what axes, tables and entries provide, and whether the two agree."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from sdbatch.parameters import PARAMETERS
from sdbatch.spec import templates
from sdbatch.spec.problems import Key, Problems, near
from sdbatch.spec.schema import FILE_FIELDS, TEMPLATES, JobSpec

WHERE = {"rows": "rows (the table)", "zip": "zip", "grid": "grid", "top": "an axis at the top level"}
FILENAME: Key = ("output", "filename")
LISTED = 24


@dataclass(frozen=True)
class Names:
    """The names in a job.

    Attributes:
        job: as far as it could be read.
        places: names of rows, zip, grid and the top level's axes, also of those that could not be read.
        complete: whether the table's columns are known.
        above: what rows of earlier stages have, by stage.
    """

    job: JobSpec
    places: Mapping[str, tuple[str, ...]]
    complete: bool
    above: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @property
    def varying(self) -> set[str]:
        """Names that axes and the table give."""
        return {name for names in self.places.values() for name in names}

    @cached_property
    def templates(self) -> Mapping[Key, tuple[tuple[str, ...], str | None]]:
        """Fields used at each key that is a template, and what is wrong with it otherwise."""
        return {key: _fields(text) for key, text in _texts(self.job, self.places["top"])}

    @cached_property
    def used(self) -> set[str]:
        """Every name that a template uses."""
        return {name for names, _ in self.templates.values() for name in names}


def above(job: JobSpec) -> list[str]:
    """`STAGE.NAME` that a stage's templates use, each once."""
    used = {name: None for _, text in _texts(job, ()) for name in _fields(text)[0] if "." in name}
    return list(used)


def check(names: Names, problems: Problems) -> None:
    """Note names given twice, names that nothing uses, and fields that nothing provides."""
    for key, (_, wrong) in names.templates.items():
        if wrong and key != FILENAME:  # output's own check has noted that one
            problems.add(key, wrong)
    _check_places(names, problems)
    _check_free(names, problems)
    if names.complete:
        _check_exclude(names, problems)
        _check_fields(names, problems)
    for at in range(len(names.job.include)):
        _check_include(names, at, problems)


def _texts(job: JobSpec, top: tuple[str, ...]) -> Iterator[tuple[Key, str]]:
    """Every template in a job, by where it is written."""
    yield FILENAME, job.output.filename
    for name in TEMPLATES:
        if isinstance(job.values.get(name), str):
            yield (name,), job.values[name]
        for axis in (*job.zip, *job.axes):
            if axis.name == name:
                where: Key = ("zip", name) if axis in job.zip else (name,) if name in top else ("grid", name)
                yield from (((*where, at), text) for at, text in enumerate(axis.values))
        for at, entry in enumerate(job.include):
            if isinstance(entry.get(name), str):
                yield ("include", at, name), entry[name]


def _fields(text: str) -> tuple[tuple[str, ...], str | None]:
    try:
        return templates.fields(text), None
    except ValueError as error:
        return (), str(error)


def _check_places(names: Names, problems: Problems) -> None:
    first: dict[str, str] = {}
    for place, found in names.places.items():
        for name in found:
            if name in first:
                key: Key = (name,) if place == "top" else (place, name)
                problems.add(key, f"{name} is in both {WHERE[first[name]]} and {WHERE[place]}; leave it in one")
            first.setdefault(name, place)


def _check_free(names: Names, problems: Problems) -> None:
    places: list[tuple[Key, str]] = [((place, name), name) for place in ("zip", "grid") for name in names.places[place]]
    places += [(("include", at, name), name) for at, entry in enumerate(names.job.include) for name in entry]
    missing = names.used - names.varying
    for key, name in places:
        if name in FILE_FIELDS:
            problems.add(key, f"{name} is what sdbatch itself calls something in file names; take another name")
        elif name not in PARAMETERS and name not in names.used:
            hint = near(name, [*missing, *names.used, *PARAMETERS])
            problems.add(key, f"{name!r} is neither a parameter nor used by any template{hint}")


def _check_exclude(names: Names, problems: Problems) -> None:
    known = [*names.varying, *PARAMETERS]
    for at, entry in enumerate(names.job.exclude):
        for name in entry:
            if name not in known:
                problems.add(("exclude", at, name), f"no row has {name!r}{near(name, known)}")


def _check_fields(names: Names, problems: Problems) -> None:
    """Fields of the templates of crossed rows; include's own rows are checked one by one."""
    provided = {*PARAMETERS, *names.varying}
    if not names.varying:  # the one row of constants cannot be meant to have what only include gives
        provided |= {name for entry in names.job.include for name in entry}
    seen: set[tuple[Key, str]] = set()  # an axis of a million prompts has one mistake, not a million
    for key, (used, _) in names.templates.items():
        for name in used:
            if key[0] != "include" and (key[:2], name) not in seen:
                seen.add((key[:2], name))
                _check_field(key, name, provided, problems, names.above)


def _check_field(
    key: Key, name: str, provided: set[str], problems: Problems, above: Mapping[str, frozenset[str]]
) -> None:
    in_prompt = key != FILENAME
    if in_prompt and name in TEMPLATES:
        problems.add(key, f"field {{{name}}}: a prompt cannot be filled with a prompt")
    elif "." in name and name not in provided:
        stage, _, own = name.partition(".")
        if stage not in above:
            problems.add(key, f"field {{{name}}}: there is no stage {stage!r} above this one{near(stage, above)}")
        elif own not in above[stage]:
            problems.add(key, f"field {{{name}}}: stage {stage!r} has no {own!r}{near(own, above[stage])}")
    elif in_prompt and name in FILE_FIELDS and name not in provided:
        problems.add(key, f"field {{{name}}} is known in output.filename only")
    elif name not in provided and name not in FILE_FIELDS:
        free = sorted(provided - PARAMETERS.keys())
        there = ", ".join(free[:LISTED]) + (", …" if len(free) > LISTED else "")
        here = f"there are the parameters and {there}" if free else "there are only the parameters; add it to grid:"
        problems.add(key, f"nothing provides field {{{name}}}{near(name, provided)}; {here}")


def _check_include(names: Names, at: int, problems: Problems) -> None:
    """An included row has no axes and no table: what its templates use, it must give itself."""
    entry = names.job.include[at]
    provided = {*PARAMETERS, *entry}
    for name in TEMPLATES:
        own: Key = ("include", at, name)
        key = own if own in names.templates else (name,)
        for used in names.templates.get(key, ((), None))[0]:
            if used in TEMPLATES:
                if key == own:
                    _check_field(own, used, provided, problems, {})
            elif used not in provided:
                problems.add(("include", at), f"the row does not give {used!r}, which {name} uses")
    for used in names.templates[FILENAME][0]:
        if used not in provided and used not in FILE_FIELDS:
            problems.add(("include", at), f"the row does not give {used!r}, which output.filename uses")
