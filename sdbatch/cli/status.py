"""sdbatch status: how far a run is."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("status")(status)


def status(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A run directory.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Show it again every two seconds, until all is done.")] = False,
) -> None:
    """Rows done, failed, left and retired; rate and time to go."""
    import time

    from rich.console import Console

    from sdbatch import api
    from sdbatch.report.status import render_text

    console = Console()
    while True:
        found = api.status(directory)
        if as_json:
            typer.echo(json.dumps({"schema": 1, **asdict(found)}))
        else:
            console.print(render_text(found))
        if not watch or not found.left:
            return
        time.sleep(2)
