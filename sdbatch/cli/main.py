"""The `sdbatch` command. Each command is a file of this folder; this one finds them and minds the exit code."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from importlib import import_module

import typer

from sdbatch import __version__
from sdbatch.errors import EXIT_BUG, EXIT_INTERRUPTED, EXIT_STORE, SdbatchError

COMMANDS = (
    "run",
    "plan",
    "validate",
    "status",
    "verify",
    "fsck",
    "replay",
    "import_",
    "augment",
    "anonymize",
    "export",
    "sheet",
    "report",
    "init",
    "schedule",
    "models",
    "schema",
    "doctor",
    "bench",
)

app = typer.Typer(
    help="Batches of Stable Diffusion pictures: the same row gives the same pixels, and nothing is lost.",
    no_args_is_help=True,
    add_completion=True,
    context_settings={"help_option_names": ["-h", "--help"]},
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
    """Run the command line, and end the process with its exit code."""
    code = _guarded()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):  # whoever read it is gone
            stream.flush()
    temporary = sys.modules.get("sdbatch.sources.temporary")
    if temporary is not None:  # what was not imported has left nothing
        temporary.clear()
    # Not sys.exit: Arrow's thread pools may be starting a thread while the interpreter takes them down, which
    # aborts the process in about one of 200 short commands. All work is over here, and all files are closed.
    os._exit(code)


def _guarded() -> int:
    """The exit code of the command; errors of ours are one clear text, never a traceback."""
    try:
        app(standalone_mode=True)
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    except SdbatchError as error:
        print(f"sdbatch: {error}" if "\n" not in str(error) else str(error), file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("sdbatch: interrupted; what is in the manifest is saved, the same command goes on", file=sys.stderr)
        return EXIT_INTERRUPTED
    except OSError as error:
        print(f"sdbatch: {error}", file=sys.stderr)
        return EXIT_STORE
    except Exception as error:  # a bug of ours: one line for the user, the rest for whoever looks into it
        if "SDBATCH_DEBUG" in os.environ:
            raise
        print(f"sdbatch: a bug: {type(error).__name__}: {error} (SDBATCH_DEBUG=1 shows where)", file=sys.stderr)
        return EXIT_BUG
    return 0
