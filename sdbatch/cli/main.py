"""The `sdbatch` command. Each command is a file of this folder; this one finds them and minds the exit code."""

from __future__ import annotations

import os
import sys
from importlib import import_module

import typer

from sdbatch import __version__
from sdbatch.errors import EXIT_BUG, EXIT_INTERRUPTED, EXIT_STORE, SdbatchError

COMMANDS = ("run", "plan", "validate", "status", "sheet", "init", "models", "schema", "doctor")

app = typer.Typer(
    help="Batches of Stable Diffusion pictures: the same row gives the same pixels, and nothing is lost.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"sdbatch {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """Batches of Stable Diffusion pictures: the same row gives the same pixels, and nothing is lost."""


for _name in COMMANDS:
    import_module(f"sdbatch.cli.{_name}").register(app)


def run() -> None:
    """Run the command line: errors of ours are one clear text and an exit code, never a traceback."""
    try:
        app(standalone_mode=True)
    except SdbatchError as error:
        print(f"sdbatch: {error}" if "\n" not in str(error) else str(error), file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("sdbatch: interrupted; what is in the manifest is saved, the same command goes on", file=sys.stderr)
        sys.exit(EXIT_INTERRUPTED)
    except OSError as error:
        print(f"sdbatch: {error}", file=sys.stderr)
        sys.exit(EXIT_STORE)
    except Exception as error:  # a bug of ours: one line for the user, the rest for whoever looks into it
        if "SDBATCH_DEBUG" in os.environ:
            raise
        print(f"sdbatch: a bug: {type(error).__name__}: {error} (SDBATCH_DEBUG=1 shows where)", file=sys.stderr)
        sys.exit(EXIT_BUG)
