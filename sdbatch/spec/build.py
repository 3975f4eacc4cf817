"""A parsed spec → JobSpec, section by section, noting every mistake on the way."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdbatch.errors import InputError, SpecError
from sdbatch.parameters import PARAMETERS
from sdbatch.sources import files, remote
from sdbatch.spec import references, sizes, templates
from sdbatch.spec.axes import Reader, beside, coerced, reason_of
from sdbatch.spec.problems import Key, Problems, near, show, unknown
from sdbatch.spec.schema import FORMS, KEYS, TABLES, Axis, JobSpec, Stage
from sdbatch.spec.settings import Sections, hooks, mapping, output, render


@dataclass(frozen=True)
class Origin:
    """Where a spec comes from.

    Attributes:
        name: the job's name where the spec gives none.
        path: the spec's absolute path, if it is a file.
        base: absolute directory that paths start from.
    """

    name: str
    path: Path | None
    base: Path


@dataclass(frozen=True)
class Above:
    """What a stage has from the stages before it.

    Attributes:
        stage: its place among them.
        columns: parameters and free columns that its rows have from its input.
        names: what rows of earlier stages have, by stage.
    """

    stage: Stage
    columns: tuple[str, ...]
    names: Mapping[str, frozenset[str]]


def build(data: Sections, origin: Origin, problems: Problems, above: Above | None = None) -> JobSpec:
    """Check a whole spec, or what a stage of it comes to.

    Args:
        data: the spec as plain values, bounded (see `document.plain`).
        origin: where it comes from.
        problems: where mistakes go; the result is only good where there are none.
        above: what a stage has from others; None where there are no stages.
    """
    above = above or Above(Stage(), (), {})
    _check_keys(data, problems)
    name = _name(data, origin, problems)
    wildcards = _folder(data, "wildcards", origin.base, problems) or _beside(origin.base / "wildcards", problems)
    links = _folder(data, "links_within", origin.base, problems)
    reader = Reader(origin.base, name, problems, wildcards, links)
    if not sizes.check(data, problems):
        problems.raise_any()
    values, top = _top_level(data, reader)
    grid = _axes(data, "grid", reader)
    zipped = _axes(data, "zip", reader)
    _check_lengths(zipped, problems)
    rows, columns = _rows(data, origin.base, problems, links)
    job = JobSpec(
        name=name,
        path=origin.path,
        base=origin.base,
        values=values,
        axes=(*top.values(), *grid.values()),
        zip=tuple(zipped.values()),
        rows=rows,
        rows_base=_rows_base(data, origin.base, problems),
        links_within=links,
        parents=_folder(data, "parents", origin.base, problems),
        wildcards=wildcards,
        fine_tunes=_folder(data, "fine_tunes", origin.base, problems),
        exclude=_entries(data, "exclude", problems),
        include=_entries(data, "include", problems),
        output=output(data, problems),
        render=render(data, problems),
        hooks=hooks(data, problems),
        stage=above.stage,
        lines=problems.lines(),
    )
    places = {
        "rows": tuple(columns or above.columns),
        "zip": tuple(mapping(data, "zip")),
        "grid": tuple(mapping(data, "grid")),
        "top": tuple(key for key in data if key in PARAMETERS and is_axis(key, data[key])),
    }
    references.check(references.Names(job, places, columns is not None, above.names), problems)
    return job


def _check_keys(data: Sections, problems: Problems) -> None:
    for key in data:
        if key not in KEYS:
            where = "; a free name belongs under grid:, zip: or include:" if not near(key, KEYS) else ""
            problems.add((key,), unknown(key, KEYS) + where)


def _name(data: Sections, origin: Origin, problems: Problems) -> str:
    name = data.get("name")
    if name is None:
        return templates.safe_name(origin.name)
    if not isinstance(name, str):
        problems.add(("name",), f"{show(name)} is not a text; write it in quotes")
    elif (safe := templates.safe_name(name)) != name:
        problems.add(("name",), f"{show(name)} cannot name a directory; such as {safe!r}")
    else:
        return name
    return "job"


def is_axis(name: str, value: Any) -> bool:
    """Whether a top-level value is an axis: a mapping with just one key, one of the axis forms."""
    if not isinstance(value, dict):
        return False
    return PARAMETERS[name].kind != "json" or (len(value) == 1 and not value.keys().isdisjoint(FORMS))


def _top_level(data: Sections, reader: Reader) -> tuple[dict[str, Any], dict[str, Axis]]:
    values: dict[str, Any] = {}
    axes: dict[str, Axis] = {}
    for name, raw in data.items():
        parameter = PARAMETERS.get(name)
        if parameter is None:
            continue
        if is_axis(name, raw):
            axis = reader.axis(name, raw, (name,))
            if axis:
                axes[name] = axis
            continue
        value, wrong = coerced(name, raw)
        if isinstance(raw, list) and parameter.kind != "json":
            wrong = "a list is not one value; to make a picture of each, put it under grid:"
        if wrong:
            reader.problems.add((name,), wrong)
        values[name] = value
    return values, axes


def _axes(data: Sections, section: str, reader: Reader) -> dict[str, Axis]:
    raw = data.get(section)
    if raw is not None and not isinstance(raw, dict):
        reader.problems.add((section,), f"{show(raw)} is not a mapping of names to axes")
    axes = {}
    for name, values in mapping(data, section).items():
        axis = reader.axis(name, values, (section, name))
        if axis:
            axes[name] = axis
    return axes


def _check_lengths(axes: Mapping[str, Axis], problems: Problems) -> None:
    if not axes:
        return
    first, *others = axes.values()
    for axis in others:
        if len(axis.values) != len(first.values):
            problems.add(
                ("zip", axis.name),
                f"{axis.name} has {len(axis.values)} values and {first.name} has {len(first.values)}; "
                "axes under zip: advance together, so their lengths must agree",
            )


def _rows(data: Sections, base: Path, problems: Problems, links: Path | None) -> tuple[Path | None, list[str] | None]:
    """The table's path and its columns; None for columns that cannot be known."""
    given = data.get("rows")
    if given is None:
        return None, []
    if not isinstance(given, str) or not given or "\0" in given:
        problems.add(("rows",), f"{show(given)} is not the path of a table")
        return None, None
    path = files.at(base, given)
    if path.suffix.lower() not in TABLES:
        problems.add(("rows",), f"{given} is not a table; allowed: {', '.join(TABLES)}")
        return path, None
    from sdbatch.spec import tables  # pyarrow: only where there is a table

    try:
        files.reached(base, given, links)
        if not os.path.isfile(path):
            raise FileNotFoundError(2, "no such file")
        return path, tables.columns(path, beside(problems.shown, given))
    except OSError as error:
        problems.add(("rows",), f"{given} cannot be read: {reason_of(error)}")
    except InputError as error:
        problems.add(("rows",), str(error))
    except SpecError as error:
        problems.extend(error.problems)
    return path, None


def _rows_base(data: Sections, base: Path, problems: Problems) -> Path | None:
    if data.get("rows_base") is not None and data.get("rows") is None:
        problems.add(("rows_base",), "is about the cells of a table, and there is no rows:")
    return _folder(data, "rows_base", base, problems)


def _beside(folder: Path, problems: Problems) -> Path | None:
    return folder if _is_folder(folder, "wildcards", problems) else None


def _folder(data: Sections, key: str, base: Path, problems: Problems) -> Path | None:
    given = data.get(key)
    if given is None:
        return None
    if not isinstance(given, str) or not given or "\0" in given:
        problems.add((key,), f"{show(given)} is not the path of a folder")
        return None
    path = files.at(base, given)
    if key not in ("rows_base", "links_within", "parents") and not _is_folder(path, key, problems):
        problems.add((key,), f"{given}: no such folder")
    return path


def _is_folder(path: Path, key: str, problems: Problems) -> bool:
    """Whether there is such a folder; one of a bucket is fetched."""
    try:
        return os.path.isdir(remote.folder(path))
    except (OSError, InputError) as error:
        problems.add((key,), str(error))
        return False


def _entries(data: Sections, section: str, problems: Problems) -> tuple[Mapping[str, Any], ...]:
    raw = data.get(section)
    if raw is None:
        return ()
    if not isinstance(raw, list):
        problems.add((section,), f"{show(raw)} is not a list of mappings")
        return ()
    return tuple(_entry(entry, (section, at), problems) for at, entry in enumerate(raw))


def _entry(raw: Any, key: Key, problems: Problems) -> Mapping[str, Any]:
    if not isinstance(raw, dict) or not raw:
        problems.add(key, f"{show(raw)} is not a mapping of names to values")
        return {}
    entry = {}
    for name, given in raw.items():
        value, wrong = coerced(name, given)
        if wrong:
            problems.add((*key, name), wrong)
        entry[name] = value
    return entry
