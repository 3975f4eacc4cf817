"""sdbatch verify: render rows again and compare them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sdbatch.cli.run import Stop

if TYPE_CHECKING:
    from sdbatch.api import VerifyReport

SHOWN = 40


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("verify")(verify)


def verify(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A run directory.")],
    sample: Annotated[
        str | None, typer.Option(metavar="N|P%", help="Only so many rows, drawn the same each time.")
    ] = None,
    tolerance: Annotated[
        float, typer.Option(min=0, max=255, metavar="T", help="Levels of 255 that a pixel may be apart.")
    ] = 2,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object at the end.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Make rows again from the manifest, and compare. Exit 1 where one is different. Writes nothing there."""
    from sdbatch import api
    from sdbatch.cli import fetching
    from sdbatch.report.progress import Progress

    stop = Stop()
    with fetching.shown(quiet=quiet), Progress(quiet=quiet) as progress:
        report = api.verify(directory, progress, sample=sample, tolerance=tolerance, stopping=stop)
    if as_json:
        typer.echo(json.dumps(report.as_json()))
    else:
        _show(report)
    raise typer.Exit(report.exit_code)


def _show(report: VerifyReport) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, soft_wrap=True, markup=False)
    if report.pictures:
        shown = report.pictures if report.sampled else report.pictures[:SHOWN]
        heads = ["result", "picture", "max", "mean", "PSNR", "about"]
        if all(one.result == "exact" for one in shown):
            del heads[2:]  # nothing is apart
        table = Table(*heads, box=None, pad_edge=False)
        for one in shown:
            far = one.apart
            psnr = "" if far is None or far.psnr is None else f"{far.psnr:.1f} dB"
            numbers = ("", "", "") if far is None else (str(far.max), f"{far.mean:.3f}", psnr)
            about = "; ".join(text for text in (one.about, *one.reasons) if text)
            table.add_row(
                *(
                    text.encode("utf-8", "replace").decode()
                    for text in (one.result, one.path, *numbers, about)[: len(heads)]
                )
            )
        console.print(table)
        if len(report.pictures) > len(shown):
            console.print(f"… and {len(report.pictures) - len(shown)} more (--json lists all)")
    for reason, count in report.reasons.items():
        console.print(f"{count} rows: {reason}")
    said = ", ".join(f"{count} {result}" for result, count in report.counts.items()) or "no rows"
    console.print(f"{report.directory}: {report.verified} of {report.rows} rows made again: {said}")
