"""sdbatch models: what there is to render with."""

from __future__ import annotations

import json
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="List models, and say what one is.", no_args_is_help=True, rich_markup_mode=None)
    group.command("list")(list_models)
    group.command("info")(info)
    app.add_typer(group, name="models")


def list_models(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False) -> None:
    """The embedded models, and those in the local Hugging Face cache."""
    from sdbatch import api

    found = api.models()
    if as_json:
        typer.echo(json.dumps({"schema": 1, "models": found}))
        return
    for model in found:
        typer.echo(f"{model['name']:40} {model['kind']:12} {model['path']}")


def info(
    name: Annotated[str, typer.Argument(metavar="NAME", help="As a spec names it.")],
    revision: Annotated[str | None, typer.Option(metavar="REV", help="A hub commit, tag or branch.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """What a model is: path, kind, hash, size, and the modes it can do."""
    from sdbatch import api

    about = api.model(name, revision)
    if as_json:
        typer.echo(json.dumps({"schema": 1, **about}))
        return
    for key, value in about.items():
        between = " x " if key == "size" else ", "
        typer.echo(f"{key:10} {between.join(map(str, value)) if isinstance(value, list) else value or '-'}")
