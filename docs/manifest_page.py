"""docs/manifest.md, for docs/generate.py."""

from __future__ import annotations

from collections.abc import Iterable

from sdbatch.parameters import PARAMETERS
from sdbatch.store import columns, manifest

INTRO = """\
# Columns of the manifest

*The tables on this page are written by `docs/generate.py` from the code. `make docs` renews them.*

`pandas.read_parquet("DIR/manifest")` has a line for each picture that was made. All parts have these columns, in this
order; a column that came with a later version is null in older lines.
"""
PARAMS = """
## Parameters

The value of each; null where the row's mode has no use for it. [The spec](spec.md#the-parameters) says what they are.
"""
FREE = """
## Free columns

`field_NAME`, text: a column of the grid or of a table that is no parameter.
"""
MADE = """
## How it was made
"""
FAILURES = """
## Failures

`pandas.read_parquet("DIR/failures")`, where there are any; what is tried again is told [there](directory.md#failures).
"""
PAGES = {
    "stage": "stages.md",
    "prompt_template": "prompts.md",
    "watermark": "output.md#watermark",
    "safety": "output.md#safety",
    "degraded": "directory.md#when-memory-runs-out",
    "versions": "accelerate.md",
    "scores": "stages.md#mode-score",
    "attempts": "augment.md#neither-copies-nor-strangers",
    "parent_id": "stages.md",
}
"""Where more is said."""


def manifest_page() -> str:
    """The page."""
    types = {field.name: str(field.type) for field in manifest.schema(())}
    given = (f"| `{name}` | {_type(types[name], one.kind == 'json')} |" for name, one in PARAMETERS.items())
    return "\n".join([
        INTRO, *_table(columns.HEAD), PARAMS, "| column | type |", "|---|---|", *given, FREE + MADE,
        *_table(columns.TAIL), FAILURES, *_table(columns.FAILURE),
    ])  # fmt: skip


def _table(found: Iterable[columns.Column]) -> list[str]:
    lines = ["| column | type | says |", "|---|---|---|"]
    for one in found:
        more = f" ([more]({PAGES[one.name]}))" if one.name in PAGES else ""
        lines.append(f"| `{one.name}` | {_type(str(one.type), one.json)} | {one.about}{more} |")
    return lines


def _type(name: str, json: bool) -> str:
    name = {"string": "text", "double": "float64"}.get(name, name)
    return f"JSON {name}" if json else name
