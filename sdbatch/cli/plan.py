"""sdbatch plan: what a run would do."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sdbatch.cli.run import AllowMixed, JobPath, Model, Out, Set

if TYPE_CHECKING:
    from rich.console import RenderableType

    from sdbatch.api import PlanReport


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("plan")(plan)


def plan(
    job: JobPath,
    out: Out = None,
    set_: Set = None,
    model: Model = None,
    allow_mixed: AllowMixed = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Tell what a run would do, and make nothing. Rows, batches, model loads, expected time, disk; loads no model."""
    from sdbatch import api
    from sdbatch.cli import fetching

    prepared = api.job(job, out=out, overrides=set_ or [], model=model, allow_mixed=allow_mixed, adopt=True)
    with fetching.shown():
        report = api.plan_job(prepared)
    show(report, as_json)


def show(report: PlanReport, as_json: bool) -> None:
    """Print a plan: JSON, or a table for people."""
    if as_json:
        typer.echo(json.dumps(asdict(report)))
        return
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, soft_wrap=True)
    console.print(f"{report.job} → {report.directory}")
    if report.cells:
        table = Table(box=None, pad_edge=False)
        names = list(report.cells[0])
        for name in names:
            number = isinstance(report.cells[0][name], int)
            table.add_column(name.replace("_", " "), justify="right" if number else "left")
        for cell in report.cells[:40]:
            table.add_row(*(f"{cell[name]:,}" if isinstance(cell[name], int) else str(cell[name]) for name in names))
        console.print(table)
        if len(report.cells) > 40:
            console.print(f"… and {len(report.cells) - 40} more kinds of batch")
    if report.stages:
        console.print(_tree(report.stages))
    lines = {
        "rows": f"{report.rows:,} ({report.done:,} done, {report.left:,} left, {report.retired:,} retired)",
        "written twice": f"{report.duplicates:,} rows of the spec are alike in everything" if report.duplicates else "",
        "batches": f"{report.batches:,}, padded share {report.padded_share:.1%} (places in them that stay empty)",
        "model loads": f"{report.model_loads} for each worker",
        "time": _time(report),
        "disk": "no estimate" if report.bytes is None else f"{report.bytes / 2**20:,.1f} MiB",
    }
    for name, text in (*lines.items(), *(("note", note) for note in report.notes)):
        if text:
            console.print(f"{name:13} {text}")


def _tree(stages: list[dict[str, Any]]) -> RenderableType:
    """The stages, each below its input."""
    from rich.text import Text
    from rich.tree import Tree

    root = Tree("stages")
    places = {None: root}
    for stage in stages:
        counts = [
            f"{stage[name]:,} {name.replace('_', ' ')}" for name in ("done", "waiting", "left_out") if stage[name]
        ]
        chosen = [f"when {stage['when']}"] if stage["when"] else []
        chosen += [f"top {', '.join(f'{key} {value}' for key, value in stage['top'].items())}"] if stage["top"] else []
        text = f"{stage['name']}: {stage['rows']:,} rows" + "".join(f", {one}" for one in (*counts, *chosen))
        places[stage["name"]] = places[stage["input"]].add(Text(text))
    return root


def _time(report: PlanReport) -> str:
    if not report.left:
        return "nothing is left to make"
    if report.seconds is None:
        return "no estimate: nothing was made here yet"
    hours, rest = divmod(round(report.seconds), 3600)
    minutes, left = divmod(rest, 60)
    text = f"{hours} h {minutes:02} min" if hours else f"{minutes} min {left:02} s"
    return f"about {text} of one worker"
