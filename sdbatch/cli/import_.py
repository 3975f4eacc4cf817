"""sdbatch import: a folder of anyone's pictures as a job table."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from sdbatch.cli.replay import Base


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("import")(import_)


def import_(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Looked into with all its folders.")],
    to: Annotated[Path, typer.Option("--to", metavar="FILE", help="The table: .parquet, .csv or .jsonl.")],
    drop: Annotated[
        list[str] | None,
        typer.Option("--drop", metavar="NAME", help="Leave a parameter out, such as loras or model. Repeatable."),
    ] = None,
    base: Base = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object at the end.")] = False,
) -> None:
    """Make a job table of a folder of pictures. One row a picture, from their metadata."""
    from sdbatch import api

    report = api.import_folder(folder, to, base=base, drop=drop or [])
    for picture, keys in report.unmapped.items():
        for key, value in keys.items():
            typer.echo(f"{picture}: not mapped: {key}: {value}", err=True)
    for picture, why in report.skipped.items():
        typer.echo(f"{picture}: skipped: {why}", err=True)
    if report.fine_tunes:
        typer.echo(f"needed beside the table, or left out by --drop: {', '.join(report.fine_tunes)}", err=True)
    tools = ", ".join(f"{count} by {tool}" for tool, count in report.tools.items())
    typer.echo(f"{report.rows} rows ({tools or 'none'}), {len(report.skipped)} pictures skipped", err=True)
    if as_json:
        typer.echo(json.dumps(asdict(report)))
    elif report.table:
        typer.echo(report.table)
    raise typer.Exit(0 if report.table else 2)
