"""sdbatch run: make the pictures of a job that are not made yet."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from sdbatch.errors import EXIT_BUG, EXIT_INTERRUPTED

if TYPE_CHECKING:
    from sdbatch.api import Job, Listener, RunOptions, RunReport
    from sdbatch.plan import Plan
    from sdbatch.report.metrics import Metrics
    from sdbatch.types import LeaseResult

Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Replace a key of the spec; KEY dotted, VALUE YAML. Repeatable."),
]
JobPath = Annotated[
    Path, typer.Argument(metavar="JOB", help="A spec (.yaml), a table (.parquet .csv .jsonl), or a run directory.")
]
Out = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Run directory; default output.dir of the spec, else runs/NAME.")
]
Model = Annotated[str | None, typer.Option(metavar="NAME", help="Model, in place of the spec's.")]
Executor = Annotated[str, typer.Option(metavar="auto|local|ray", help="Where pictures are made.")]
Limit = Annotated[int | None, typer.Option(min=0, metavar="N", help="Make at most N rows.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object at the end.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress.")]
ACTORS_MAX = 4096
"""Most actors that can be asked for by number."""
AllowMixed = Annotated[bool, typer.Option("--allow-mixed", help="Go on although pictures would be made another way.")]
Adopt = Annotated[bool, typer.Option("--adopt", help="Go on in a directory that another job began.")]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("run")(run)


class Stop:
    """Ctrl-C or SIGTERM: the first ends the run after the batch in hand, the second at once."""

    def __init__(self) -> None:
        self.asked = False
        self.say: Callable[[str], None] = lambda text: print(text, file=sys.stderr)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._heard)

    def __call__(self) -> bool:
        return self.asked

    def _heard(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        self.say("sdbatch: stopping after the batch in hand; again to stop at once")


def run(
    job: JobPath,
    out: Out = None,
    set_: Set = None,
    model: Model = None,
    executor: Executor = "auto",
    ray_address: Annotated[str | None, typer.Option(metavar="ADDR", help="A running Ray cluster to join.")] = None,
    actors: Annotated[
        str | None,
        typer.Option(metavar="N|auto", help="Ray actors; auto is as many as there are GPUs, or shares of one."),
    ] = None,
    gpus_per_actor: Annotated[float | None, typer.Option(min=0, metavar="F", help="Share of a GPU an actor.")] = None,
    batch_size: Annotated[str | None, typer.Option(metavar="N|auto", help="Batch shape, as render.batch_size.")] = None,
    limit: Limit = None,
    where: Annotated[
        str | None, typer.Option(metavar="EXPR", help="Only rows for which this holds: seed < 4 and color == 'red'.")
    ] = None,
    time_limit: Annotated[
        str | None,
        typer.Option(metavar="2h", help="Begin nothing that would not be done after so long; exit 75 with rows left."),
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="06:00", help="As --time-limit, up to a time of day.")] = None,
    max_failures: Annotated[str | None, typer.Option(metavar="N|P%", help="Stop after so many failed rows.")] = None,
    retry: Annotated[
        str | None, typer.Option(metavar="CLASS", help="Try only failed rows of this error class again.")
    ] = None,
    no_retry: Annotated[bool, typer.Option("--no-retry", help="Leave rows that failed before.")] = False,
    recycle: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Replace each Ray actor after N leases; auto means ray then.")
    ] = None,
    rewrite: Annotated[bool, typer.Option("--rewrite", help="Make rows again that another `output:` wrote.")] = False,
    allow_mixed: AllowMixed = False,
    adopt: Adopt = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and make nothing.")] = False,
    hooks: Annotated[
        bool | None,
        typer.Option(
            "--hooks/--no-hooks", help="Tell the spec's on_finish and on_failure, or leave them.", show_default=False
        ),
    ] = None,
    metrics: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Keep a file of numbers for Prometheus (.prom).")
    ] = None,
    log_format: Annotated[str, typer.Option(metavar="text|json", help="How progress is written.")] = "text",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Make the pictures of a job. On a directory that holds part of it, go on."""
    from sdbatch import api
    from sdbatch.api import deadlines
    from sdbatch.errors import UsageError

    if log_format not in ("text", "json"):
        raise UsageError(f"--log-format {log_format!r}: one of text, json")
    if executor not in ("auto", "local", "ray"):
        raise UsageError(f"--executor {executor!r}: one of auto, local, ray")
    if executor == "local" and (actors or ray_address or recycle):
        raise UsageError(
            "--executor local has no actors; leave out --actors, --ray-address and --recycle, or use --executor ray"
        )
    count = _actors(actors)
    overrides = [*(set_ or []), *([f"render.batch_size={batch_size}"] if batch_size else [])]
    stop = Stop()
    deadline = deadlines.earliest(time_limit, until, datetime.now(UTC))
    prepared = api.job(job, out=out, overrides=overrides, model=model, allow_mixed=allow_mixed, adopt=adopt)
    if dry_run:
        from sdbatch.cli.plan import show

        show(api.plan_job(prepared), as_json)
        return
    options = api.RunOptions(
        executor=executor,
        ray_address=ray_address,
        actors=count,
        gpus_per_actor=gpus_per_actor,
        limit=limit,
        where=where,
        max_failures=max_failures,
        retry=False if no_retry else (retry or True),
        rewrite=rewrite,
        recycle=recycle,
        deadline=deadline,
        hooks=hooks,
    )
    report = _watched(prepared, options, stop, metrics, log_format, quiet=quiet)
    if as_json:
        typer.echo(json.dumps(asdict(report)))
    else:
        typer.echo(report.directory)
    raise typer.Exit(report.exit_code)


def _actors(text: str | None) -> int | None:
    from sdbatch.errors import UsageError

    if text in (None, "auto"):
        return None
    if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= ACTORS_MAX):
        raise UsageError(f"--actors {text!r}: auto, or a whole number from 1 to {ACTORS_MAX}")
    return int(text)


def _watched(
    prepared: Job, options: RunOptions, stop: Stop, metrics: Path | None, log_format: str, *, quiet: bool
) -> RunReport:
    """Run, with whoever is to hear of it."""
    from sdbatch import api
    from sdbatch.cli import events, fetching
    from sdbatch.errors import SdbatchError
    from sdbatch.report.progress import Progress

    as_events = log_format == "json"
    progress = events.Events(quiet=quiet) if as_events else Progress(quiet=quiet)
    stop.say = progress.say if as_events else stop.say
    numbers: Metrics | None = None
    if metrics is not None:
        from sdbatch.report.metrics import Metrics

        numbers = Metrics(metrics, prepared.spec.name, progress.say)
    heard = _Everyone([progress] if numbers is None else [progress, numbers])
    code = EXIT_BUG
    try:
        with fetching.shown(quiet=quiet or as_events), progress:
            report = api.run(prepared, options, heard, stop, sys.argv)
        code = report.exit_code
    except SdbatchError as error:
        code = error.exit_code
        if isinstance(progress, events.Events):
            progress.failed(str(error), code)
            raise typer.Exit(code) from error
        raise
    except KeyboardInterrupt:
        code = EXIT_INTERRUPTED
        raise
    finally:
        if numbers is not None:
            numbers.end(code)
    if isinstance(progress, events.Events):
        progress.end(report)
    else:
        progress.say(report.summary(progress.seconds))
    return report


class _Everyone:
    """Passes on what a run tells."""

    def __init__(self, listeners: Sequence[Listener]) -> None:
        self._listeners = listeners

    def begin(self, planned: Plan, left: int, directory: Path) -> None:
        for one in self._listeners:
            one.begin(planned, left, directory)

    def rows(self, count: int) -> None:
        for one in self._listeners:
            one.rows(count)

    def result(self, result: LeaseResult) -> None:
        for one in self._listeners:
            one.result(result)

    def say(self, text: str) -> None:
        for one in self._listeners:
            one.say(text)
