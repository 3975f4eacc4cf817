"""One HTML page of a run: its data, packed, in the page that web/ is bundled to."""

from __future__ import annotations

import base64
import gzip
import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from sdbatch import __version__, modes
from sdbatch.parameters import PARAMETERS
from sdbatch.report.sheet import choose, varying
from sdbatch.store import manifest as manifests
from sdbatch.store import metadata

PAGE = Path(__file__).with_name("page.html")
"""What `npm run build` in web/ makes."""
BINS = 60
_WIDTHS = (1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 21600, 86400, 604800)
_FEW = 0.5
"""Columns with fewer distinct values than this share of the rows are written as numbers into a list of them."""


@dataclass(frozen=True)
class Content:
    """What a page shows.

    Attributes:
        table: lines of the manifest, all columns, in the order in which they are shown.
        failures: of rows that have no picture, with `row`, `error`, `message`, `when`, `attempt` and their parameters.
        left: rows that are not made; None where that is not known.
        versions: sdbatch's, by run.
        job: job.yaml.
        inline: thumbnails as data URLs, a line each, or None for those that lie beside the page.
        beside: the folder of those, from the page.
        served: the page asks its server for new data and thumbnails.
    """

    title: str
    directory: str
    when: str
    table: pa.Table
    failures: Sequence[Mapping[str, Any]] = ()
    left: int | None = None
    job: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    inline: Sequence[str | None] = field(default_factory=tuple)
    beside: str | None = None
    served: bool = False


def page(content: Content) -> bytes:
    """The whole page, UTF-8."""
    return around(content.title, packed(content))


def around(title: str, data: bytes) -> bytes:
    """The page of data that `packed` made."""
    head, tail = PAGE.read_text("utf-8").split("{{data}}")
    return (head.replace("{{title}}", html.escape(title)) + base64.b64encode(data).decode("ascii") + tail).encode()


def packed(content: Content) -> bytes:
    """The data of a page: gzipped JSON, the same bytes for the same content."""
    lines = content.table.to_pylist()
    columns, constants = [], {}
    wanted = {name: [line[name] for line in lines] for name in content.table.column_names}
    wanted["a1111"] = [_parameters_text(line, content.versions) for line in lines]
    for name, values in wanted.items():
        distinct = list(dict.fromkeys(values))
        if len(distinct) < 2 and len(values) != 1:
            constants[name] = distinct[0] if distinct else None
        elif len(distinct) < len(values) * _FEW:
            place = {value: at for at, value in enumerate(distinct)}
            columns.append({"name": name, "dict": distinct, "codes": [place[value] for value in values]})
        else:
            columns.append({"name": name, "values": values})
    axes = axes_of(content.table)
    found = {
        "title": content.title,
        "directory": content.directory,
        "when": content.when,
        "rows": len(lines),
        "left": content.left,
        "columns": columns,
        "constants": constants,
        "axes": axes,
        "params": list(PARAMETERS),
        "json": [name for name, one in PARAMETERS.items() if one.kind == "json"],
        "thumbs": {"inline": list(content.inline), "beside": content.beside, "served": content.served},
        "failures": [_failure(one, axes) for one in content.failures],
        "bins": _bins(wanted.get("finished_at", [])),
        "job": content.job,
    }
    text = json.dumps(found, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return gzip.compress(text.encode("utf-8", "replace"), 6, mtime=0)


def axes_of(table: pa.Table) -> list[str]:
    """Columns that vary, those that a sheet would take first, prompts last."""
    if not table.num_rows:
        return []
    x, y, _ = choose(table, None, None, None)
    several = [name for name in varying(table) if name not in ("prompt", "negative_prompt")]
    prompts = [name for name in ("prompt", "negative_prompt") if name in varying(table)]
    return list(dict.fromkeys([*(name for name in (x, y) if name), *several, *prompts]))


def _parameters_text(line: Mapping[str, Any], versions: Mapping[str, str]) -> str:
    """As the picture's file has it."""
    row = manifests.row(line, manifests.parameters(line))
    uses = modes.get(row.params["mode"]).USES
    params = {name: value for name, value in row.params.items() if name in uses}
    version = versions.get(line.get("run") or "", __version__)
    tunes = json.loads(line.get("fine_tunes") or "[]")
    return metadata.parameters_text(params, row.params["model"], line.get("model_hash") or "", version, tunes)


def _failure(one: Mapping[str, Any], axes: Sequence[str]) -> dict[str, Any]:
    about = ", ".join(f"{name.removeprefix('field_')} {one[name]}" for name in axes if one.get(name) is not None)
    kept = {name: str(one.get(name) or "") for name in ("row", "error", "message", "when")}
    return {**kept, "attempts": one.get("attempt") or 0, "about": about}


def _bins(times: Sequence[str | None]) -> dict[str, Any]:
    """How many pictures were finished in each span of time; spans of a width that people know."""
    moments = sorted(datetime.fromisoformat(text).timestamp() for text in times if text)
    if not moments:
        return {"start": 0, "seconds": 1, "counts": []}
    whole = moments[-1] - moments[0]
    width = next((one for one in _WIDTHS if whole / one <= BINS), _WIDTHS[-1])
    start = moments[0] // width * width
    counts = [0] * (int((moments[-1] - start) // width) + 1)
    for moment in moments:
        counts[int((moment - start) // width)] += 1
    return {"start": start, "seconds": width, "counts": counts}
