"""sdbatch report: one page of a run."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("report")(report)


def report(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A run directory.")],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where to write it; default DIR/report.html.")
    ] = None,
    inline: Annotated[
        int, typer.Option(min=0, metavar="N", help="Most pictures whose thumbnails are in the page itself.")
    ] = 1000,
    serve: Annotated[bool, typer.Option("--serve", help="Serve it on 127.0.0.1 instead, and follow the run.")] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, metavar="N", help="For --serve; 0 is any.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Write one HTML page of a run. Gallery, facets, grid, comparison, failures; it needs no network."""
    from sdbatch import api

    if serve:
        api.serve(directory, port, ready=typer.echo)
        return
    found = api.report(directory, out, inline=inline)
    typer.echo(json.dumps(asdict(found)) if as_json else found.path)
