"""sdbatch fsck: what is wrong with a run directory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("fsck")(fsck)


def fsck(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A run directory.")],
    repair: Annotated[
        bool, typer.Option("--repair", help="Take what is wrong out, so that `sdbatch run DIR` makes it again.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Find missing, torn, orphaned and altered files. Exit 1 where something is wrong and not repaired."""
    from sdbatch import api

    report = api.fsck(directory, repair=repair)
    if as_json:
        typer.echo(json.dumps(report.as_json()))
        raise typer.Exit(report.exit_code)
    for one in report.findings:
        after = f" ({one.repaired})" if one.repaired else ""
        typer.echo(f"{one.kind}: {one.path}: {one.message}{after}".encode("utf-8", "replace").decode())
    said = ", ".join(f"{count} {kind}" for kind, count in report.counts.items()) or "nothing is wrong"
    if report.findings and not report.exit_code:
        said += "; repaired"
    typer.echo(f"{report.directory}: {report.rows} rows of {report.pictures} pictures looked at: {said}", err=True)
    if report.held_by:
        typer.echo(f"A run is at work there ({report.held_by}): what no line names was not looked for", err=True)
    if report.quarantine:
        typer.echo(f"Set aside in {report.directory}/{report.quarantine}", err=True)
    if report.exit_code and not repair:
        typer.echo(f"To repair: sdbatch fsck {report.directory} --repair", err=True)
    if repair and any(one.rows or one.kind == "part" for one in report.findings):
        typer.echo(f"To make again what was lost: sdbatch run {report.directory}", err=True)
    raise typer.Exit(report.exit_code)
