"""sdbatch augment: variations of a labelled data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sdbatch.cli import run as running
from sdbatch.cli.run import AsJson, Executor, Limit, Model, Quiet, Set


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("augment")(augment)


def augment(
    input_: Annotated[
        str, typer.Argument(metavar="INPUT", help="A folder, imagefolder, .tar, .parquet, or a pattern of pictures.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Run directory.")],
    prompt: Annotated[str, typer.Option(metavar="TEXT", help="Such as 'a photo of a {label}'.")] = "",
    variations: Annotated[int | None, typer.Option(min=1, metavar="K", help="Pictures of each input; 4.")] = None,
    per_class: Annotated[int | None, typer.Option(min=1, metavar="N", help="Pictures of each class instead.")] = None,
    label: Annotated[str | None, typer.Option(metavar="COLUMN", help="The column with the class; label.")] = None,
    split: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Only inputs of this split.")] = None,
    mode: Annotated[str, typer.Option(metavar="MODE", help="img2img, depth2img, controlnet or inpaint.")] = "img2img",
    strength: Annotated[float | None, typer.Option(min=0, max=1, metavar="F", help="How much is remade.")] = None,
    ssim: Annotated[
        str | None, typer.Option(metavar="LOW:HIGH", help="Band of structural similarity with the parent.")
    ] = None,
    boxes: Annotated[str | None, typer.Option(metavar="keep|drop", help="What becomes of boxes.")] = None,
    model: Model = None,
    set_: Set = None,
    executor: Executor = "auto",
    limit: Limit = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Make variations of a labelled data set. The same as a job with `recipe: augment`."""
    from sdbatch import api
    from sdbatch.errors import UsageError

    if ssim is not None and ssim.count(":") != 1:
        raise UsageError(f"--ssim {ssim!r}: LOW:HIGH, such as 0.2:0.95")
    band = None if ssim is None else [_number(part) for part in ssim.split(":")]
    keys = {
        "prompt": prompt or None, "mode": mode, "variations": variations, "per_class": per_class, "label": label,
        "splits": split or None, "strength": strength, "similarity": band and {"ssim": band}, "boxes": boxes,
        "model": model,
    }  # fmt: skip
    spec = api.recipe("augment", input_, out, {name: value for name, value in keys.items() if value is not None})
    running.run(spec, out=out, set_=set_, executor=executor, limit=limit, as_json=as_json, quiet=quiet)


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text  # the recipe says what is wrong with it
