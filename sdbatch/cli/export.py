"""sdbatch export: a run directory as a data set."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("export")(export)


def export(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A run directory.")],
    to: Annotated[str, typer.Option("--to", metavar="FORMAT", help="imagefolder, webdataset, hf-dataset or coco.")],
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Where the data set goes.")],
    per_shard: Annotated[int, typer.Option(min=1, metavar="N", help="Pictures a shard.")] = 1000,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object at the end.")] = False,
) -> None:
    """Write a run as a data set, with a card and checksums."""
    from sdbatch import api

    report = api.export(directory, to, out, per_shard=per_shard)
    splits = ", ".join(f"{count} {name}" for name, count in report.splits.items())
    typer.echo(f"{report.pictures} pictures ({splits}), {report.files} files, {report.written} of them new", err=True)
    typer.echo(json.dumps(asdict(report)) if as_json else report.directory)
