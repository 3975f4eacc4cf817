"""sdbatch models: what there is to render with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

Name = Annotated[str, typer.Argument(metavar="NAME", help="As a spec names it.")]
Revision = Annotated[str | None, typer.Option(metavar="REV", help="A hub commit, tag or branch.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    about = "List models, look at one, fetch or convert one. From the Hugging Face hub; pickles are converted."
    group = typer.Typer(help=about, no_args_is_help=True, rich_markup_mode=None)
    group.command("list")(list_models)
    group.command("info")(info)
    group.command("hash")(hash_model)
    group.command("pull")(pull)
    group.command("convert")(convert)
    app.add_typer(group, name="models")


def list_models(as_json: Json = False) -> None:
    """The embedded models, those of installed extras, and those in the local Hugging Face cache."""
    from sdbatch import api

    found = api.models()
    if as_json:
        typer.echo(json.dumps({"schema": 1, "models": found}))
        return
    for model in found:
        typer.echo(f"{model['name']:40} {model['kind']:18} {_uses(model):60} {model['path']}")


def info(name: Name, revision: Revision = None, as_json: Json = False) -> None:
    """What a model is: path, kind, hash, size, and the modes it can do."""
    from sdbatch import api

    about = api.model(name, revision)
    if as_json:
        typer.echo(json.dumps({"schema": 1, **about}))
        return
    for key, value in about.items():
        between = " x " if key == "size" else ", "
        said = between.join(map(str, value)) if isinstance(value, list) else value
        typer.echo(f"{key:10} {_uses(about) if key == 'modes' else said or '-'}")


def hash_model(name: Name, revision: Revision = None) -> None:
    """The hash of a model: over all its files that decide pixels; of a lone checkpoint, its sha256."""
    from sdbatch import api

    typer.echo(api.model(name, revision)["hash"])


def pull(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A Hugging Face id, owner/name.")],
    revision: Revision = None,
    as_json: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Fetch what is read of a hub model into the local cache; prints the commit and the path."""
    from sdbatch import api
    from sdbatch.cli.fetching import Fetching

    with Fetching(quiet=quiet) as watcher:
        found = api.pull(name, revision, watcher)
    if as_json:
        typer.echo(json.dumps({"schema": 1, **found, "fetched": watcher.size}))
    else:
        typer.echo(f"{found['revision']} {found['path']}")


def convert(
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="A .ckpt, .pt, .pth or .bin file, or a diffusers folder.")
    ],
    to: Annotated[
        Path | None, typer.Option(metavar="FILE", help="What to write; default beside it, as .safetensors.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite what is there.")] = False,
    as_json: Json = False,
) -> None:
    """Make safetensors of pickled weights, in a process that can build nothing but tensors; prints the new paths."""
    from sdbatch import api

    made = []
    for file in api.convert(path, to=to, force=force):
        made.append(str(file))
        if not as_json:
            typer.echo(file)
    if as_json:
        typer.echo(json.dumps({"schema": 1, "written": made}))


def _uses(model: dict[str, Any]) -> str:
    """Its modes; a lone part has none of its own."""
    lone = {"controlnet": "(named by `controlnet`)", "vae": "(named by `vae`)"}
    return ", ".join(model["modes"]) or lone.get(model["kind"], "-")
