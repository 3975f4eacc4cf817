"""A spec file, a bare table or a mapping → JobSpec; every mistake with its file, line and key."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sdbatch.errors import InputError, Problem, SpecError
from sdbatch.sources import remote
from sdbatch.spec import document, stages
from sdbatch.spec.axes import reason_of
from sdbatch.spec.build import Origin
from sdbatch.spec.problems import Key, Problems, show
from sdbatch.spec.recipes import Recipe
from sdbatch.spec.schema import TABLES, JobSpec

Expand = Callable[[dict[str, Any], Path, Problems], tuple[dict[str, Any], Recipe | None]]
"""A spec with a recipe → one without, and what became of the recipe; mistakes are noted."""
FILE_BYTES = 4 * 2**20
"""Largest spec file."""


def job(
    path: Path | str, overrides: Sequence[str] = (), *, model: str | None = None, expand: Expand | None = None
) -> JobSpec:
    """Read a job from a YAML spec, or make one of a bare .parquet, .csv or .jsonl table.

    Args:
        path: the file; relative paths in it start from its directory.
        overrides: `KEY=VALUE`, KEY dotted, VALUE YAML; replaces, never merges, before validation.
        model: a model in place of the spec's own.
        expand: makes rows of a spec with a `recipe:`; None refuses those.

    Raises:
        SpecError: with every mistake found. One that came from an override has no file.
    """
    where = _located(path)
    shown, path = remote.url(where) or str(path), Path(os.path.abspath(where))
    if path.suffix.lower() in TABLES:
        read = document.Document({"rows": path.name}, {})
    else:
        read = document.parse(_text(path, shown), shown)
        if read.value is None:
            raise SpecError([Problem(shown, None, "", "is empty; a job needs at least a prompt or rows")])
    changes = [_override(text) for text in overrides]
    if model is not None:
        changes.append((("model",), model))
    return _job(read, Origin(path.stem, path, path.parent), shown, changes, expand)


def job_from_mapping(data: Mapping[str, Any], base: Path, name: str = "job", expand: Expand | None = None) -> JobSpec:
    """Make a job of plain values, as they would stand in a spec.

    Args:
        data: the top-level keys.
        base: directory that relative paths start from.
        name: the job's name, where `data` has none; also stands for the file in messages.

    Raises:
        SpecError: with every mistake found.
    """
    read = document.Document(dict(data), {})
    return _job(read, Origin(name, None, Path(os.path.abspath(base))), name, [], expand)


def _job(
    read: document.Document,
    origin: Origin,
    shown: str,
    changes: Sequence[tuple[Key, Any]],
    expand: Expand | None,
) -> JobSpec:
    if not isinstance(read.value, dict):
        raise SpecError(
            [*read.problems, Problem(shown, 1, "", f"{show(read.value)} is not a mapping of keys to values")]
        )
    problems = Problems(shown, read.lines, [key for key, _ in changes])
    problems.extend(read.problems)
    data = read.value
    for key, value in changes:
        data = _replaced(data, key, value)
    wrong = document.plain(data)
    if wrong:
        problems.add((), wrong)
        problems.raise_any()
    recipe = None
    if "recipe" in data:
        if expand is None:
            problems.add(("recipe",), "is not read here")
            data = {key: value for key, value in data.items() if key != "recipe"}
        else:
            data, recipe = expand(data, origin.base, problems)
    made = stages.job(data, origin, problems, recipe)
    problems.raise_any()
    return made


def _located(path: Path | str) -> Path:
    try:
        return remote.located(path)
    except InputError as error:
        raise SpecError([Problem(str(path), None, "", str(error))]) from error


def _text(path: Path, shown: str) -> str:
    try:
        with remote.present(path).open("rb") as file:
            raw = file.read(FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        raise SpecError([Problem(shown, None, "", f"cannot be read: {reason_of(error)}")]) from error
    if len(raw) > FILE_BYTES:
        raise SpecError([Problem(shown, None, "", f"is larger than {FILE_BYTES >> 20} MiB; long lists go in files")])
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise SpecError([Problem(shown, line, "", "is not UTF-8 text")]) from error


def _override(text: str) -> tuple[Key, Any]:
    name, equals, value = text.partition("=")
    key = tuple(part.strip() for part in name.split("."))
    if not equals or not all(key):
        raise SpecError([Problem(None, None, "", f"{show(text)} is not KEY=VALUE, such as grid.seed=[1, 2]")])
    try:
        read = document.parse(value, None)
        if read.problems:
            raise SpecError(list(read.problems))
    except SpecError as error:
        raise SpecError([Problem(None, None, name, problem.message) for problem in error.problems]) from error
    return key, read.value


def _replaced(data: Mapping[str, Any], key: Key, value: Any) -> dict[str, Any]:
    """A copy with one value replaced; the original may be shared by an alias and is left alone."""
    head, *rest = key
    if not rest:
        return {**data, str(head): value}
    inner = data.get(str(head))
    if head == "stages" and isinstance(inner, list):
        return {**data, head: _in_stage(inner, tuple(rest), value)}
    return {**data, str(head): _replaced(inner if isinstance(inner, dict) else {}, tuple(rest), value)}


def _in_stage(stages: Sequence[Any], key: Key, value: Any) -> list[Any]:
    """Stages with a value of one of them replaced, named as `hires` in stages.hires.steps, or by its number from 0."""
    name, *rest = key
    names = [str(one.get("name")) if isinstance(one, dict) else "" for one in stages]
    at = names.index(str(name)) if name in names else int(name) if str(name).isdecimal() else len(names)
    if at >= len(names) or not rest:
        there = ", ".join(f"stages.{one}.KEY" for one in names)
        raise SpecError([Problem(None, None, f"stages.{name}", f"is not a key of a stage; there are {there}")])
    inner = stages[at]
    return [*stages[:at], _replaced(inner if isinstance(inner, dict) else {}, tuple(rest), value), *stages[at + 1 :]]
