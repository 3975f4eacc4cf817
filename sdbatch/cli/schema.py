"""sdbatch schema: the spec's JSON Schema."""

from __future__ import annotations

import json

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("schema")(schema)


def schema() -> None:
    """Print the spec's JSON Schema, for editors."""
    from sdbatch import api

    typer.echo(json.dumps(api.schema(), indent=2, ensure_ascii=False))
