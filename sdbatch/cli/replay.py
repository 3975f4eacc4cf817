"""sdbatch replay: make pictures again from what they say of themselves."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sdbatch.cli.run import Set, Stop

if TYPE_CHECKING:
    from sdbatch.api import Replay

Base = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Where relative paths in the metadata start; default: looked for.")
]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("replay")(replay)


def replay(
    pictures: Annotated[list[Path], typer.Argument(metavar="PICTURE...", help="PNG, JPEG or WebP files of any tool.")],
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Run directory; default runs/replay.")] = None,
    model: Annotated[str | None, typer.Option(metavar="NAME", help="Model, in place of the pictures' own.")] = None,
    set_: Set = None,
    base: Base = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the rows, as JSON lines, and make nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object at the end.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Make pictures again from their metadata. Says whether the pixels are the same."""
    from sdbatch import api
    from sdbatch.cli import fetching
    from sdbatch.report.progress import Progress

    asked = api.read_pictures(pictures, api.ReplayOptions(out, model, set_ or [], base))
    _list_unmapped(asked)
    if dry_run:
        for row in asked.rows():
            typer.echo(json.dumps(row))
        return
    with fetching.shown(quiet=quiet), Progress(quiet=quiet) as progress:
        report = api.replay(asked, progress, Stop(), sys.argv)
    if as_json:
        typer.echo(json.dumps({**asdict(report), "exit_code": report.exit_code}))
    else:
        for picture in report.pictures:
            made = f" -> {picture.path}" if picture.path else ""
            typer.echo(f"{picture.result}: {picture.picture}{made} ({picture.about})")
    raise typer.Exit(report.exit_code)


def _list_unmapped(asked: Replay) -> None:
    for read in asked.reads:
        for key, value in read.found.unmapped.items():
            typer.echo(f"{read.name}: not mapped: {key}: {value}", err=True)
