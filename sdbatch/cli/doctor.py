"""sdbatch doctor: what this machine has."""

from __future__ import annotations

import json
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("doctor")(doctor)


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False) -> None:
    """What this machine has, and what is missing. Devices, versions, models."""
    from sdbatch import api

    about = api.doctor()
    if as_json:
        typer.echo(json.dumps({"schema": 1, **about}))
    else:
        for key, value in about.items():
            lines = value if isinstance(value, list) else [value]
            for at, line in enumerate(lines or ["none"]):
                typer.echo(f"{key if at == 0 else '':12} {line}")
    raise typer.Exit(1 if about["missing"] else 0)
