"""sdbatch validate: check specs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sdbatch.cli.run import Set


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("validate")(validate)


def validate(
    jobs: Annotated[list[Path], typer.Argument(metavar="JOB...", help="Specs or tables.")],
    set_: Set = None,
) -> None:
    """Check specs and all their rows. Prints every mistake with file and line."""
    from sdbatch import api

    wrong = 0
    for path in jobs:
        problems = api.validate(path, set_ or [])
        wrong += len(problems)
        for problem in problems:
            typer.echo(str(problem), err=True)
        if not problems:
            typer.echo(f"{path}: sound")
    raise typer.Exit(2 if wrong else 0)
