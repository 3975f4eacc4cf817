"""sdbatch sheet: a labelled contact sheet."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("sheet")(sheet)


def sheet(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A run directory.")],
    x: Annotated[str | None, typer.Option(metavar="NAME", help="Axis across; default: an axis that varies.")] = None,
    y: Annotated[str | None, typer.Option(metavar="NAME", help="Axis down.")] = None,
    by: Annotated[str | None, typer.Option(metavar="NAME", help="One page a value of this axis.")] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Where to write it; default DIR/sheet.png.")] = None,
) -> None:
    """Draw a run as a contact sheet with axis headings."""
    from sdbatch import api

    for path in api.sheet(directory, x=x, y=y, by=by, out=out):
        typer.echo(str(path))
