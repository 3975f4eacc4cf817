"""sdbatch init: a starter jobs/ and prompts/."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("init")(init)


def init(directory: Annotated[Path, typer.Argument(metavar="[DIR]", help="Where to put them.")] = Path(".")) -> None:
    """Write a starter jobs/ and prompts/ that run at once. Files that are there stay as they are."""
    from sdbatch import api

    for path, written in api.init(directory):
        typer.echo(f"{path}" if written else f"{path} (kept: it was there)")
