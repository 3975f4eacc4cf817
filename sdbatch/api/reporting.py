"""sdbatch report: one page of a run, written or served."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from sdbatch import modes, prepare
from sdbatch.api.looking import asked_for, failed_rows
from sdbatch.errors import UsageError
from sdbatch.report import page, thumbs
from sdbatch.report.sheet import still_failed
from sdbatch.sources import remote
from sdbatch.store import base as stores
from sdbatch.store.directory import JOB

INLINE = 1000
"""Most pictures whose thumbnails are in the page itself."""


@dataclass(frozen=True)
class PageReport:
    """What was written.

    Attributes:
        path: the page.
        beside: the folder with thumbnails; None where they are in the page.
    """

    path: str
    pictures: int
    failed: int
    beside: str | None
    schema: int = 1


def content(directory: Path, *, served: bool = False) -> page.Content:
    """What a page of a run shows, without thumbnails.

    Raises:
        StoreError: it is no run directory, or a part of it is broken.
    """
    there = prepare.readable(directory)
    manifest = there.manifest()
    asked = asked_for(there.path)
    table = manifest.read()
    table = table.filter(pc.fill_null(pc.not_equal(table.column("mode"), modes.SCORE), True))
    left = None
    if asked.keys is not None:
        place = pc.index_in(table.column("row"), value_set=asked.keys)
        table = table.append_column("_place", place).filter(pc.is_valid(place)).sort_by("_place").drop_columns("_place")
        left = len(pc.unique(asked.keys)) - len(pc.unique(table.column("row")))
    failures = failed_rows(asked.rows, [dict(one) for one in still_failed(table, manifest.failures().to_pylist())])
    runs = there.runs()
    return page.Content(
        title=str(runs[-1]["job"]) if runs else there.path.name,
        directory=there.store.shown(),
        when=datetime.now(UTC).isoformat(timespec="seconds"),
        table=_plain(table),
        failures=failures,
        left=left,
        job=(there.store.read(JOB) or b"").decode("utf-8", "replace"),
        versions={str(run["run"]): str(run["versions"]["sdbatch"]) for run in runs},
        served=served,
    )


def report(directory: Path, out: Path | None = None, *, inline: int = INLINE) -> PageReport:
    """Write one HTML page of a run; of more than `inline` pictures the thumbnails lie in a folder beside it.

    The page shows the pictures themselves from its own folder, so that it belongs into the run directory.

    Raises:
        StoreError: it is no run directory, or the page cannot be written.
        UsageError: the page is to be no .html file, or to be written to a bucket.
    """
    found = content(directory)
    home = prepare.readable(directory).path
    if out is None:
        if remote.url(home) is not None:
            raise UsageError("--out: say where to write the page; this run is in a bucket")
        out = home / "report.html"
    if out.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"--out {out}: a page is an .html file")
    paths = [home / path for path in found.table.column("path").to_pylist()]
    beside = None
    if len(paths) <= inline:
        found = replace(found, inline=thumbs.inline(paths))
    else:
        beside = out.with_name(f"{out.stem}-thumbs")
        thumbs.beside(list(zip(paths, found.table.column("row").to_pylist(), strict=True)), beside)
        found = replace(found, beside=beside.name)
    stores.at(out.absolute().parent).replace(out.name, page.page(found))
    return PageReport(str(out), len(paths), len(found.failures), None if beside is None else str(beside))


def _plain(table: pa.Table) -> pa.Table:
    """Columns that are null in all lines say nothing, nor does a number that is none."""
    kept = [name for name in table.column_names if table.column(name).null_count < table.num_rows or name in _NEEDED]
    table = table.select(kept)
    for at, column in enumerate(table.schema):
        if pa.types.is_floating(column.type):
            values = table.column(at)
            table = table.set_column(at, column, pc.if_else(pc.is_finite(values), values, pa.scalar(None, column.type)))
    return table


_NEEDED = ("row", "id", "path", "mode", "prompt", "seed", "model", "finished_at", "stage")


def pictures(found: page.Content) -> Iterator[tuple[str, str]]:
    """(row, path) of each picture of a page."""
    rows: Any = (found.table.column(name).to_pylist() for name in ("row", "path"))
    yield from zip(*rows, strict=True)
