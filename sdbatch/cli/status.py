"""sdbatch status: how far a run is."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from sdbatch.report.status import Status

SECONDS = 2.0
"""Between two looks of --watch."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("status")(status)


def status(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A run directory.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Show it again every two seconds, until nothing is left to wait for.")
    ] = False,
) -> None:
    """Rows done, failed, left and retired; rate and time to go."""
    from rich.console import Console

    from sdbatch import api
    from sdbatch.report.status import render_text

    console = Console()
    if watch and not as_json and console.is_terminal:
        _watch(directory, console)
        return
    while True:
        found = api.status(directory)
        if as_json:
            typer.echo(json.dumps({"schema": 1, **asdict(found)}))
        else:
            console.print(render_text(found))
        if not watch or _ended(found):
            return
        time.sleep(SECONDS)


def _ended(found: Status) -> bool:
    """Whether nothing is to be expected: all is done, or what is left has failed and nobody is at work."""
    return not found.left or (found.left == found.failed and not found.at_work)


def _watch(directory: Path, console: Console) -> None:
    """Show it in one place, until all is done."""
    from rich.live import Live

    from sdbatch import api
    from sdbatch.report import terminal
    from sdbatch.report.status import render_text

    live = Live(console=console, auto_refresh=False)
    with terminal.steady(live):
        while True:
            found = api.status(directory)
            live.update(render_text(found), refresh=True)
            if _ended(found):
                return
            time.sleep(SECONDS)
