"""sdbatch anonymize: the same pictures with nobody recognisable in them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sdbatch.cli import run as running
from sdbatch.cli.run import AsJson, Executor, Limit, Model, Quiet, Set


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("anonymize")(anonymize)


def anonymize(
    input_: Annotated[
        str, typer.Argument(metavar="INPUT", help="A folder, imagefolder, .tar, .parquet, or a pattern of pictures.")
    ],
    key_file: Annotated[
        Path, typer.Option("--key-file", metavar="FILE", help="At least 16 bytes, which names and hashes are keyed by.")
    ],
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Run directory; needed.")] = None,
    find: Annotated[str, typer.Option(metavar="faces|boxes|masks|whole", help="What is hidden.")] = "faces",
    how: Annotated[
        str, typer.Option("--replace", metavar="HOW", help="inpaint, img2img, fill, blur or pixelate.")
    ] = "inpaint",
    prompt: Annotated[str, typer.Option(metavar="TEXT", help="What is to be there instead.")] = "",
    outside: Annotated[
        str | None, typer.Option(metavar="keep|encode", help="What is not hidden: bit for bit, or through the VAE too.")
    ] = None,
    detector: Annotated[str, typer.Option(metavar="auto|centerface|lbp", help="What finds faces.")] = "auto",
    unfound: Annotated[
        str, typer.Option(metavar="review|keep", help="What becomes of pictures without a face.")
    ] = "review",
    keep: Annotated[
        list[str] | None, typer.Option("--keep-column", metavar="NAME", help="A column that travels.")
    ] = None,
    names: Annotated[
        bool, typer.Option("--names", help="Print which picture each ${INPUT}/... is, and make nothing.")
    ] = False,
    model: Model = None,
    set_: Set = None,
    executor: Executor = "auto",
    limit: Limit = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Hide who is in pictures, and where they came from. The same as a job with `recipe: anonymize`."""
    from sdbatch import api
    from sdbatch.errors import UsageError

    if not key_file.is_file():
        raise UsageError(f"--key-file {key_file}: no such file; `openssl rand -out {key_file} 32` makes one")
    if names:
        for name, picture in api.hidden_names(input_, key_file):
            typer.echo(f"{name}\t{picture}")
        return
    if out is None:
        raise UsageError("--out DIR is needed: the run directory")
    keys = {
        "find": find, "replace": how, "prompt": prompt or None, "unfound": unfound, "keep_columns": keep,
        "detector": detector, "model": model, "outside": outside,
    }  # fmt: skip
    given = {name: value for name, value in keys.items() if value is not None}
    spec = api.recipe("anonymize", input_, out, given, key_file=key_file)
    running.run(spec, out=out, set_=set_, executor=executor, limit=limit, as_json=as_json, quiet=quiet)
