"""docs/sdbatch.1: the manual page, from the command line's own help."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from errors_page import INTRO

from sdbatch import __version__

HEAD = f"""\
.TH SDBATCH 1 "" "sdbatch {__version__}" "User Commands"
.SH NAME
sdbatch \\- batches of Stable Diffusion pictures, reproducible row by row
.SH SYNOPSIS
.B sdbatch
.I COMMAND
.RI [ OPTION ]...
.SH DESCRIPTION
Renders every picture that follows from a job, a short YAML file or a table of prompts, seeds and parameters.
The same row gives the same pixels, alone or in any batch, and a run that was stopped in any way goes on where it was.
Results go to standard output, progress and messages to standard error.
.SH COMMANDS"""
TAIL = """\
.SH FILES
.TP
.I runs/NAME
The run directory: images/, manifest/*.parquet, failures/*.parquet, job.yaml, runs.jsonl, log.jsonl.
.SH ENVIRONMENT
.TP
.B SDBATCH_DEBUG
If it is set, a bug is shown with its traceback.
.TP
.B SDBATCH_ROOTS
Folders that links in a job's paths may lead to.
.TP
.B XDG_CACHE_HOME
Where hashes and what was fetched are kept; ~/.cache unless set."""


def man_page() -> str:
    """The page, in roff."""
    import typer.main

    from sdbatch.cli.main import app

    command: Any = typer.main.get_command(app)
    return "\n".join([HEAD, *_commands(command, "sdbatch", None), *_exit_codes(), TAIL])


def _commands(command: Any, name: str, parent: Any) -> Iterator[str]:
    context = command.context_class(command, info_name=name.rsplit(" ", 1)[-1], parent=parent)
    if parent is not None:
        yield f".SS {_roff(' '.join([name, *command.collect_usage_pieces(context)]))}"
        yield _roff(" ".join((command.help or "").split()))
        for parameter in command.get_params(context):
            record = parameter.get_help_record(context)
            if record and not record[0].startswith("--help"):
                yield from [".TP", f".B {_roff(record[0])}", _roff(" ".join((record[1] or "").split()))]
    for child in command.list_commands(context) if hasattr(command, "list_commands") else ():
        found = command.get_command(context, child)
        if not found.hidden:
            yield from _commands(found, f"{name} {child}", context)


def _exit_codes() -> Iterator[str]:
    yield ".SH EXIT STATUS"
    for line in INTRO.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| ") and cells[0].isdigit():
            yield from [".TP", f".B {cells[0]}", _roff(cells[1].replace("`", ""))]


def _roff(text: str) -> str:
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return "\\&" + text if text[:1] in (".", "'") else text or "\\&"
