"""sdbatch bench: pictures a second of a model shape on this machine."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from sdbatch.api import BenchReport

COLUMNS = ("batch", "ours", "naive", "ratio", "it/s", "text", "step", "decode", "to host", "GiB", "of peak", "exact")
WIDTH = 100
"""Of the table at least, also where a terminal says less of itself."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("bench")(bench)


def bench(
    model_shape: Annotated[
        str, typer.Option(metavar="sd15|sd21|sdxl|demo", help="The architecture; demo is tiny, to try the command.")
    ] = "sd15",
    batch: Annotated[
        str | None, typer.Option(metavar="N,N,…", help="Batch shapes; default 1,4,8,16, and on a CPU 1.")
    ] = None,
    steps: Annotated[int, typer.Option(metavar="N", help="Denoising steps a picture.")] = 30,
    size: Annotated[
        int | None, typer.Option(metavar="N", help="Width and height in pixels; default the shape's own.")
    ] = None,
    dtype: Annotated[str, typer.Option(metavar="auto|float32|float16|bfloat16", help="As render.dtype.")] = "auto",
    device: Annotated[str, typer.Option(metavar="auto|cpu|cuda|mps", help="As render.device.")] = "auto",
    threads: Annotated[str, typer.Option(metavar="auto|N", help="As render.threads.")] = "auto",
    compile_: Annotated[bool, typer.Option("--compile", help="As render.compile: on; the naive loop is not.")] = False,
    rounds: Annotated[int, typer.Option(metavar="N", help="Rounds in which both loops take turns.")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Measure pictures a second with random weights. Of a model shape, on this machine; nothing is downloaded.

    Beside it a plain diffusers loop, one call a prompt, over the same weights. Exit 1 where a picture's bits follow
    from its place in a batch, or no batch fits.
    """
    from sdbatch import api

    given: dict[str, Any] = {"dtype": dtype, "device": device, "threads": _number(threads), "compile": compile_}
    options = api.BenchOptions(
        shape=model_shape, batches=_numbers(batch), steps=steps, size=size, render=given, rounds=rounds
    )
    report = api.bench(options, lambda text: None if quiet else print(text, file=sys.stderr, flush=True))
    if as_json:
        typer.echo(json.dumps(report.as_json()))
    else:
        _show(report)
    raise typer.Exit(report.exit_code)


def _number(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


def _numbers(text: str | None) -> tuple[int, ...]:
    """`1,4,8` → those numbers, each once."""
    from sdbatch.errors import UsageError

    parts = [part.strip() for part in (text or "").split(",")] if text is not None else []
    if not all(part.isascii() and part.isdecimal() for part in parts):
        raise UsageError(f"--batch {text!r}: whole numbers with commas between, such as 1,4,8,16")
    return tuple(dict.fromkeys(int(part) for part in parts))


def _show(report: BenchReport) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, soft_wrap=True, markup=False)
    console.width = max(console.width, WIDTH)
    about = report.as_json()
    millions = sum(report.parameters.values()) / 1e6
    console.print(
        f"{about['model_shape']} ({millions:,.0f} M parameters), {about['width']} × {about['height']}, "
        f"{about['steps']} steps of {about['scheduler']}, guided"
    )
    compiled = "compiled" if about["compile"] else "not compiled"
    threads = f", {report.render.threads} threads" if report.render.device == "cpu" else ""
    console.print(
        f"{about['device']}, {about['dtype']}, {about['attention']}, {about['memory_format']}, {compiled}{threads}"
    )
    peaks = ", ".join(f"{dtype} {peak / 1e12:.4g}" for dtype, peak in report.peaks.items())
    console.print(f"work: {report.picture / 1e12:.4g} TFLOP a picture; matrix product: {peaks} TFLOP/s")
    console.print(
        "pictures a second, ours and the naive loop's; it/s: calls of the network; milliseconds a batch, and a step; "
        "GiB at most; share of the bfloat16 matrix product"
    )
    table = Table(box=None, pad_edge=False)
    for name in COLUMNS:
        table.add_column(name, justify="right", no_wrap=True)
    for size, line in _lines(report):
        table.add_row(str(size), *line)
    console.print(table)
    for one in about["batches"]:
        for place, apart in one.get("differences", {}).items():
            if any(apart.values()):
                console.print(
                    f"batch {one['batch']}, {place}: {apart['levels']} of 255 levels apart, "
                    f"{apart['decoded']:.3g} before rounding"
                )


def _lines(report: BenchReport) -> list[tuple[int, list[str]]]:
    """The table's cells by batch shape."""
    found: list[tuple[int, list[str]]] = []
    for size, one in report.batches.items():
        if one is None:
            found.append((size, ["does not fit", *[""] * (len(COLUMNS) - 2)]))
            continue
        numbers = [one.ours, one.naive, one.ratio, one.calls]
        numbers += [one.ms[name] for name in ("text", "step", "decode", "to_host")]
        cells = [f"{number:,.3g}" if number < 1000 else f"{number:,.0f}" for number in numbers]
        cells += [f"{one.peak / 2**30:.1f}", f"{report.share(one):.1%}", "yes" if one.exact else "NO"]
        found.append((size, cells))
    return found
