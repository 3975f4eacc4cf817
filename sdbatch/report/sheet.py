"""A contact sheet: the pictures of a run placed by the values of two columns, with headings."""

from __future__ import annotations

import contextlib
import difflib
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
from PIL import Image

from sdbatch.errors import StoreError, UsageError
from sdbatch.parameters import PARAMETERS
from sdbatch.report.drawing import Item, shown
from sdbatch.report.layout import Axis, Band, Cells, Layout, bare, draw_page, measure, paginate
from sdbatch.report.status import plural

MAX_VALUES = 24
"""An axis that is chosen for the user has no more values than this, if another can be had."""
MIN_SIDE = 1000
"""The least `max_side`, in pixels."""

_WEBP_SIDE = 16383

_Page = tuple[Layout, list[Band], Cells, str]
_Names = tuple[str | None, str | None, str | None]  # the columns of x, y and by
_Place = tuple[int, ...]  # where a row stands in its cell: the rank of each value that varies within it


def sheet(
    manifest: pa.Table,
    directory: Path,
    out: Path,
    *,
    x: str | None = None,
    y: str | None = None,
    by: str | None = None,
    failures: Sequence[Mapping[str, Any]] = (),
    max_side: int = 16000,
) -> list[Path]:
    """Draw a run's pictures as labelled sheets.

    Rows that share a cell, because something else varies too, are tiled in it, at most 64 of them.
    Values are sorted as numbers where all are numbers, else stand in order of first appearance.
    Where `x` or `y` is None it is chosen among the parameters and free columns that vary (`prompt`
    only if nothing else does): x is the one with the most values up to 24, y the one with the most
    of those that cross with x. Where only one varies, its cells run on over several lines.
    Pictures are opened one at a time; a page takes width x height x 3 bytes.

    Args:
        manifest: lines of a run's manifest, with `path`, `row` and the columns named.
        directory: the run directory, which paths are relative to; its name is the title.
        out: the file, .png, .webp or .pdf; of several pages, `NAME-01.png` and so on, or one .pdf with all of them.
        x, y, by: columns; a free column's `field_` may be left out. `by` begins a page a value.
        failures: failed attempts with `row`, `error`, `message` and the columns that the manifest has. The
            last one of a row counts. Rows since made are passed over, those without x, y, by only counted.
        max_side: longest side of a page, in pixels, at least 1000.

    Returns:
        The files written, in order.

    Raises:
        UsageError: no such column, nothing to show, another suffix, or too small a side.
        StoreError: a page cannot be written.
    """
    max_side = _checked_side(out, max_side)
    names = choose(manifest, _column(manifest, x), _column(manifest, y), _column(manifest, by))
    pages = _pages(manifest, directory, names, still_failed(manifest, failures), max_side)
    if out.suffix.lower() == ".pdf":
        _write_pdf(pages, out)
        return [out]
    paths = [out if len(pages) == 1 else out.with_stem(f"{out.stem}-{n:02d}") for n in range(1, len(pages) + 1)]
    for path, page in zip(paths, _drawn(pages), strict=True):
        _write(page, path)
    return paths


def _drawn(pages: Sequence[_Page]) -> Iterator[Image.Image]:
    """One page after the other: all of them at once would take too much memory."""
    for number, (layout, bands, cells, note) in enumerate(pages, 1):
        counted = f"page {number} of {len(pages)}" if len(pages) > 1 else ""
        yield draw_page(layout, bands, cells, note, counted)


def _pages(
    manifest: pa.Table, directory: Path, names: _Names, failed: Sequence[Mapping[str, Any]], max_side: int
) -> list[_Page]:
    used = [name for name in names if name]
    if len(set(used)) < len(used):
        raise UsageError(f"x, y and by must be three columns, not {', '.join(used)}")
    inner = [name for name in varying(manifest) if name not in (*used, "prompt")]
    records = manifest.select(sorted({"path", *used, *inner})).to_pylist()
    inner = _within(records, used, inner)
    if not records and not failed:
        raise UsageError(f"{directory}: no pictures to show")
    rows = [*records, *(row for row in failed if all(name in row for name in used))]
    groups = _group(rows, directory, names, inner)
    x, y, by = names
    axes = (Axis(x, _values(rows, x)), Axis(y, _values(rows, y)))
    shared = any(len(items) > 1 for cells in groups.values() for items in cells.values())
    about = _about(manifest, len(failed), axes, inner if shared else [])
    layout = measure(axes, groups, directory.resolve().name, about)
    return [
        (part, bands, groups[value], f"{bare(by)} = {shown(value)}" if by else "")
        for value in _values(rows, by)
        if value in groups
        for part in [_occurring(layout, groups[value])]
        for bands in paginate(part, max_side)
    ]


def _occurring(layout: Layout, cells: Cells) -> Layout:
    """The layout with only the values that this page's rows have: `by` may decide an axis."""
    x, y = ({key[way] for key in cells} for way in (0, 1))
    return replace(
        layout,
        x=replace(layout.x, values=tuple(value for value in layout.x.values if value in x)),
        y=replace(layout.y, values=tuple(value for value in layout.y.values if value in y)),
    )


# --- Columns and values ---


def _checked_side(out: Path, max_side: int) -> int:
    suffix = out.suffix.lower()
    if suffix not in (".png", ".webp", ".pdf"):
        raise UsageError(f"{out.name}: a sheet is a .png, a .webp or a .pdf file")
    if max_side < MIN_SIDE:
        raise UsageError(f"a page of at most {max_side} pixels a side holds nothing; {MIN_SIDE} is the least")
    return min(max_side, _WEBP_SIDE) if suffix == ".webp" else max_side


def _column(manifest: pa.Table, name: str | None) -> str | None:
    if name is None:
        return None
    for candidate in (name, f"field_{name}"):
        if candidate in manifest.column_names:
            return candidate
    near = difflib.get_close_matches(name, [bare(column) for column in manifest.column_names], 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise UsageError(f"the manifest has no column {name!r}{hint}")


def varying(manifest: pa.Table) -> dict[str, int]:
    """Parameters and free columns of more than one value, and how many."""
    names = [name for name in manifest.column_names if name in PARAMETERS or name.startswith("field_")]
    counts = {name: len(manifest[name].unique()) for name in names}
    return {name: count for name, count in counts.items() if count > 1}


def choose(manifest: pa.Table, x: str | None, y: str | None, by: str | None) -> _Names:
    """The axes of a sheet, where the user names none."""
    several = {name: count for name, count in varying(manifest).items() if name not in (x, y, by)}
    others = {name: count for name, count in several.items() if name != "prompt"} or several
    # Most values first, but those past the limit last, and of them the fewest first.
    order = sorted(others, key=lambda name: (others[name] > MAX_VALUES, abs(MAX_VALUES - others[name])))
    x = x or next((name for name in order if y is None or _cross(manifest, name, y)), None)
    if x is not None and y is None:
        y = next((name for name in order if name != x and _cross(manifest, name, x)), None)
    return x, y, by


def _cross(manifest: pa.Table, one: str, other: str) -> bool:
    """Whether two columns vary apart: not so where one decides the other, as in a `zip`."""
    pairs = manifest.select([one, other]).group_by([one, other]).aggregate([]).num_rows
    return bool(pairs > max(len(manifest[one].unique()), len(manifest[other].unique())))


def _values(rows: Sequence[Mapping[str, Any]], name: str | None) -> tuple[Any, ...]:
    if name is None:
        return (None,)
    found = list(dict.fromkeys(_key(row.get(name)) for row in rows))
    numbers = {value: _number(value) for value in found if value is not None}
    if all(number is not None for number in numbers.values()):
        found.sort(key=lambda value: (value is None, numbers.get(value) or 0.0))
    return tuple(found)


def _key(value: Any) -> Any:
    if isinstance(value, (list, dict)):  # a manifest has JSON text in its place
        return json.dumps(value, sort_keys=True, separators=(",", ":"))
    return value


def _number(value: Any) -> float | None:
    try:
        number = float(value)  # free columns are text
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


# --- Rows to cells ---


def still_failed(manifest: pa.Table, failures: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The latest failure of each row that is not made."""
    latest = {str(failure.get("row")): failure for failure in failures}
    if not latest:
        return []
    made = set(manifest["row"].to_pylist())
    return [failure for row, failure in latest.items() if row not in made]


def _group(rows: Sequence[Mapping[str, Any]], directory: Path, names: _Names, inner: Sequence[str]) -> dict[Any, Cells]:
    """Cells by the value of `by`; within a cell the same order everywhere, by what else varies."""
    ranks = {name: {value: rank for rank, value in enumerate(_values(rows, name))} for name in inner}
    places = [tuple(ranks[name][_key(row.get(name))] for name in inner) for row in rows]
    found: dict[Any, dict[tuple[Any, Any], list[tuple[_Place, Item]]]] = {}
    for place, row in sorted(zip(places, rows, strict=True), key=lambda pair: pair[0]):
        x, y, split = (_key(row.get(name)) if name else None for name in names)
        found.setdefault(split, {}).setdefault((x, y), []).append((place, _item(row, directory)))
    every = sorted(set(places))
    fullest = max((len(items) for cells in found.values() for items in cells.values()), default=0)
    aligned = len(every) == fullest  # else the columns do not cross, and most places would be gaps
    return {
        split: {key: _aligned(items, every if aligned else ()) for key, items in cells.items()}
        for split, cells in found.items()
    }


def _item(row: Mapping[str, Any], directory: Path) -> Item:
    if row.get("path") and "error" not in row:
        return Item(directory / row["path"])
    return Item(None, ": ".join(str(row[key]) for key in ("error", "message") if row.get(key)) or "failed")


def _aligned(items: Sequence[tuple[_Place, Item]], every: Sequence[_Place]) -> list[Item]:
    """The items in order, with gaps where another cell has something in that place."""
    by_place = dict(items)
    if not every or len(by_place) < len(items):
        return [item for _, item in items]
    return [by_place.get(place, Item(None)) for place in every]


def _within(records: Sequence[Mapping[str, Any]], used: Sequence[str], names: Sequence[str]) -> list[str]:
    """Those columns that vary within a cell; a `zip` partner of an axis does not."""
    first: dict[Any, Mapping[str, Any]] = {}
    found: set[str] = set()
    for record in records:
        one = first.setdefault(tuple(_key(record[name]) for name in used), record)
        found |= {name for name in names if _key(record[name]) != _key(one[name])}
    return [name for name in names if name in found]


def _about(manifest: pa.Table, failed: int, axes: tuple[Axis, Axis], inner: Sequence[str]) -> str:
    models = manifest["model"].unique().to_pylist() if "model" in manifest.column_names else []
    parts = [f"model {shown(models[0])}" if len(models) == 1 else f"{len(models)} models"] if models else []
    parts.append(plural(manifest.num_rows, "picture"))
    parts += [f"{failed:,} failed"] if failed else []
    ways = zip(axes, ("across", "down"), strict=True)
    parts += [", ".join(f"{bare(axis.name)} {way} ({len(axis.values)})" for axis, way in ways if axis.name)]
    parts += [f"within a cell: {', '.join(map(bare, inner))}"] if inner else []
    return "  ·  ".join(part for part in parts if part)


# --- Pages ---


def _write(page: Image.Image, path: Path) -> None:
    with _whole(path) as part:
        if path.suffix.lower() == ".webp":
            page.save(part, "WEBP", quality=90)
        else:
            page.save(part, "PNG", compress_level=3)


def _write_pdf(pages: Sequence[_Page], path: Path) -> None:
    """All pages in one file, 150 pixels an inch."""
    with _whole(path) as part:
        for number, page in enumerate(_drawn(pages)):
            page.save(part, "PDF", resolution=150.0, quality=92, append=number > 0, title=path.stem)


@contextlib.contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """A file that is whole or absent: where to write it, before it is put in its place."""
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        os.replace(part, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink()
        raise StoreError(f"{path}: {error}") from error
