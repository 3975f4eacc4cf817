"""augment: variations of a labelled data set. Labels travel with them, and no picture crosses a split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from sdbatch import modes
from sdbatch.errors import InputError, UsageError
from sdbatch.parameters import PARAMETERS
from sdbatch.recipes import base as common
from sdbatch.recipes.base import Parent
from sdbatch.recipes.similarity import guard
from sdbatch.sources import datasets
from sdbatch.spec.problems import Problems, near, show
from sdbatch.spec.recipes import Recipe

VARIATIONS = 4
BOXES = ("boxes", "bbox", "bboxes", "objects", "segmentation", "keypoints")
"""Columns that say where in a picture something is."""
OBJECT_MASK = "object_mask"
"""The column with a mask of what mode `inpaint` leaves as it is."""


def expand(
    own: Mapping[str, Any], rest: dict[str, Any], base: Path, problems: Problems
) -> tuple[dict[str, Any], Recipe | None]:
    """Rows of a data set; see `recipes.expand`."""
    rest.setdefault("mode", "img2img")
    before = len(problems.found)
    _check(own, problems)
    similarity = guard(own.get("similarity"), own.get("distinct"), problems)
    parents = _parents(own, base, problems)
    if parents is not None:
        _check_splits(parents, problems)
        _check_boxes(own, rest, parents, problems)
    if parents is None or len(problems.found) > before:
        return rest, None
    try:
        table = _table(own, rest, parents, base)
    except (InputError, UsageError) as error:
        problems.add(("input",), str(error))
        return rest, None
    return rest, Recipe("augment", dict(own), table, similarity)


def _check(own: Mapping[str, Any], problems: Problems) -> None:
    for key in ("variations", "per_class"):
        value = own.get(key)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            problems.add((key,), f"{show(value)} is not a whole number of at least 1")
    if own.get("variations") is not None and own.get("per_class") is not None:
        problems.add(("per_class",), "says how many pictures there are of a class; leave variations out")
    if own.get("boxes") not in (None, "keep", "drop"):
        problems.add(("boxes",), f"{show(own['boxes'])} is not one of keep, drop")
    splits = own.get("splits")
    if splits is not None and (not isinstance(splits, list) or not all(isinstance(one, str) for one in splits)):
        problems.add(("splits",), f"{show(splits)} is not a list of names")
    if not isinstance(own.get("label", "label"), str):
        problems.add(("label",), f"{show(own['label'])} is not the name of a column")


def _parents(own: Mapping[str, Any], base: Path, problems: Problems) -> list[Parent] | None:
    given = own.get("input")
    if not isinstance(given, str) or not given or "\0" in given:
        problems.add(("input",), f"{show(given)} is not a data set: a folder, a .tar, a .parquet, or a pattern")
        return None
    try:
        found = common.parents(datasets.read(given, base), base)
    except InputError as error:
        problems.add(("input",), str(error))
        return None
    label, columns = own.get("label", "label"), {name for parent in found for name in parent.columns}
    if "label" in own or "per_class" in own:
        if label not in columns:
            problems.add(("label",), f"the data set has no column {show(label)}{near(str(label), sorted(columns))}")
        elif lost := next((parent for parent in found if parent.columns.get(label) is None), None):
            problems.add(("label",), f"{lost.item.name} has none")
    return found


def _check_splits(parents: Sequence[Parent], problems: Problems) -> None:
    """No picture may be in two splits, under whichever name: its children would tell one of the other."""
    splits: dict[str, dict[str | None, str]] = {}
    for parent in parents:
        splits.setdefault(parent.sha256, {}).setdefault(parent.columns.get("split"), parent.item.name)
    leaks = [where for where in splits.values() if len(where) > 1]
    if leaks:
        said = ", ".join(f"{name} ({split})" for split, name in leaks[0].items())
        problems.add(("input",), f"{len(leaks)} pictures are in two splits, such as {said}; take them out of one")


def _check_boxes(
    own: Mapping[str, Any], rest: Mapping[str, Any], parents: Sequence[Parent], problems: Problems
) -> None:
    """Boxes hold where content stays in its place."""
    columns = {name for parent in parents for name in parent.columns}
    boxes = sorted(columns.intersection(BOXES))
    if not boxes or own.get("boxes") or (rest["mode"] == "inpaint" and OBJECT_MASK in columns):
        return
    problems.add(
        ("boxes",),
        f"mode {rest['mode']} may move what {boxes[0]!r} is about; `boxes: keep` takes it over all the same, "
        f"`boxes: drop` leaves it out, and mode inpaint with a column {OBJECT_MASK!r} moves nothing",
    )


def _table(own: Mapping[str, Any], rest: Mapping[str, Any], parents: Sequence[Parent], base: Path) -> pa.Table:
    mode = modes.get(rest["mode"]) if isinstance(rest["mode"], str) else modes.get("img2img")
    picture = next((name for name in ("image", "control_image") if name in mode.USES), None)
    if picture is None:
        raise InputError(f"mode {rest['mode']} takes no picture")
    drop = set(BOXES) if own.get("boxes") == "drop" else set()
    columns = sorted({name for parent in parents for name in parent.columns} - drop)
    masks = {name: common.seen(path, base) for name, path in _backgrounds(parents, base, rest["mode"]).items()}
    seeded = not _gives_seeds(rest)
    rows: dict[str, list[Any]] = {
        name: [] for name in (picture, *(["seed"] if seeded else []), "variation", *common.PARENT, *columns)
    }
    if masks:
        rows.setdefault("mask", [])
    for parent, variation in _each(own, parents):
        cells = {**parent.columns, **parent.cells(), picture: parent.name, "variation": str(variation)}
        cells["seed"] = common.seed("augment", parent.sha256, variation)
        if (mask := cells.get(OBJECT_MASK)) is not None:  # as rows name pictures, so that an export finds it
            cells[OBJECT_MASK] = common.seen(datasets.beside(parent.item, mask), base)
        if masks:
            cells["mask"] = f'"{masks[parent.name]}"'
        for name, cell in rows.items():
            cell.append(cells.get(name))
    return pa.table({name: pa.array(cell, _kind(name)) for name, cell in rows.items()})


def _kind(name: str) -> pa.DataType:
    kind = PARAMETERS[name].kind if name in PARAMETERS else "text"
    return {"int": pa.int64(), "float": pa.float64()}.get(kind, pa.string())


def _gives_seeds(rest: Mapping[str, Any]) -> bool:
    sections = (rest.get(key) for key in ("grid", "zip"))
    return "seed" in rest or any(isinstance(one, dict) and "seed" in one for one in sections)


def _each(own: Mapping[str, Any], parents: Sequence[Parent]) -> Iterator[tuple[Parent, int]]:
    """Every row's parent, and which of its variations it is."""
    splits, label = own.get("splits"), own.get("label", "label")
    chosen = [parent for parent in parents if splits is None or parent.columns.get("split") in splits]
    if not chosen:
        raise InputError(f"no picture is of the splits {show(splits)}")
    total = own.get("per_class")
    members = Counter(parent.columns.get(label) for parent in chosen)
    place: Counter[str | None] = Counter()
    for parent in chosen:
        count = own.get("variations") or VARIATIONS
        if total is not None:
            of = parent.columns.get(label)
            count = total // members[of] + (place[of] < total % members[of])
            place[of] += 1
        yield from ((parent, variation) for variation in range(count))


def _backgrounds(parents: Sequence[Parent], base: Path, mode: Any) -> dict[str, Path]:
    """Each input's mask of everything but the object that its data set marks; none in other modes."""
    if mode != "inpaint" or all(OBJECT_MASK not in parent.columns for parent in parents):
        return {}
    found = {}
    for parent in parents:
        named = parent.columns.get(OBJECT_MASK)
        if named is None:
            raise InputError(f"{parent.item.name}: has no {OBJECT_MASK}")
        found[parent.name] = datasets.inverted(datasets.beside(parent.item, named))
    return found
