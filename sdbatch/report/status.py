"""How far a run directory is: counts, rate, time to go."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from sdbatch.spec import arrow
from sdbatch.types import DROPPED

ERRORS, WORKERS = 3, 16
"""How many of the latest errors, and of the workers, are told."""


@dataclass(frozen=True)
class Status:
    """How far a run directory is.

    Attributes:
        rows: rows the job asks for; None where that is not known.
        done: rows asked for that are in the manifest; all in the manifest where `rows` is None.
        failed: rows asked for whose latest attempt failed.
        left: rows asked for that are not done, the failed ones among them: what `run` would make.
        retired: rows in the manifest that the job no longer asks for.
        rate: rows a second over the latest run, or None before it has made any.
        seconds_left: `left` at that rate.
        runs: executions.
        job: the job's name.
        quarantined: of those failed, rows that killed their workers: `run` leaves them.
        degraded: rows made otherwise than `render:` says, for want of memory or of numbers.
        dropped: rows that a recipe's guard dropped, which count neither as failed nor as left.
        errors: what the latest rows that failed said, the last one first.
        at_work: a line for each worker with rows in hand: where, device, model, batch, memory.
        idle: nobody holds the directory, so that what is left waits for `run`.
        waiting: rows of later stages, counted in `left`, whose input is not there yet or has failed; by stage.
    """

    rows: int | None
    done: int
    failed: int
    left: int | None
    retired: int
    rate: float | None
    seconds_left: float | None
    runs: int
    job: str
    quarantined: int = 0
    degraded: int = 0
    dropped: int = 0
    errors: tuple[str, ...] = ()
    at_work: tuple[str, ...] = ()
    waiting: Mapping[str, int] = field(default_factory=dict)
    idle: bool = False


def measure(
    manifest: pa.Table,
    failures: pa.Table,
    wanted: Collection[str] | pa.Array | pa.ChunkedArray | None = None,
    *,
    job: str = "",
    started: Mapping[str, str] | None = None,
) -> Status:
    """Count what is done, failed, left and retired.

    Args:
        manifest: with the columns `row`, `run`, `finished_at` (ISO text) and `seconds`; a row counts once.
        failures: with the columns `row`, `run`, and `error` and `when` where there are any. A row that is also in
            the manifest has not failed.
        wanted: the `row` of each row that the job asks for; None where the job cannot be read.
        job: the job's name.
        started: when each run began, ISO text by run; without it the rate leaves out what came before the first row.
    """
    started = started or {}
    if "attempt" in failures.column_names:  # 0: a worker died with the row in hand, which is not to blame for it
        failures = failures.filter(pc.cast(failures["attempt"], pa.bool_()))  # a Python number would import pandas
    made = pc.unique(manifest["row"])
    tried = pc.unique(failures["row"])
    out = _dropped(failures)
    failed = _outside(_outside(tried, made), out)
    rows, left, retired = None, None, 0
    if wanted is not None:
        is_arrow = isinstance(wanted, (pa.Array, pa.ChunkedArray))
        asked = pc.unique(wanted if is_arrow else pa.array(wanted, pa.string()))
        rows, retired = len(asked), len(_outside(made, asked))
        left = len(_outside(_outside(asked, made), out))
        out = out.filter(pc.is_in(out, _set(asked)))
        failed = failed.filter(pc.is_in(failed, _set(asked)))
    rate = _rate(manifest, started)
    runs = set(pc.unique(manifest["run"]).to_pylist()) | set(pc.unique(failures["run"]).to_pylist())
    return Status(
        rows=rows,
        done=len(made) - retired,
        failed=len(failed),
        left=left,
        retired=retired,
        rate=rate,
        seconds_left=left / rate if left is not None and rate else None,
        runs=len((runs | started.keys()) - {None}),
        job=job,
        quarantined=_quarantined(failures, failed),
        degraded=_degraded(manifest),
        dropped=len(_outside(out, made)),
        errors=_errors(failures, failed),
    )


def render_text(status: Status) -> RenderableType:
    """A status for people: a bar, the counts, the rate."""
    share = status.done / status.rows if status.rows else None
    title = Text.assemble((status.job or "run", "bold"), (f"  {plural(status.runs, 'run')}", "dim"))
    parts: list[RenderableType] = [title]
    if share is not None:
        bar = Table.grid(padding=(0, 1))
        # Rounded down, because 100 % must mean that nothing is left.
        bar.add_row(ProgressBar(total=1.0, completed=share, width=40), f"{int(share * 100)} %")
        parts.append(bar)
    counts = Table.grid(padding=(0, 2))
    counts.add_column(style="dim")
    counts.add_column(justify="right")
    counts.add_column(style="dim")
    of = f"of {status.rows:,}" if status.rows is not None else ""
    counts.add_row("done", Text(f"{status.done:,}", "green" if status.left == 0 else ""), of)
    if status.left is not None:
        counts.add_row("left", f"{status.left:,}", _to_go(status))
    counts.add_row("failed", Text(f"{status.failed:,}", "red" if status.failed else ""), "")
    for stage, count in status.waiting.items():
        counts.add_row("waiting", f"{count:,}", f"stage {stage}: the rows that they are made from are not there")
    if status.quarantined:
        counts.add_row("quarantined", f"{status.quarantined:,}", "killed their workers; --retry quarantined")
    if status.dropped:
        counts.add_row("dropped", f"{status.dropped:,}", "by the recipe's guard; --retry dropped")
    if status.degraded:
        counts.add_row("degraded", f"{status.degraded:,}", "made with less memory or more precision than asked")
    if status.retired:
        counts.add_row("retired", f"{status.retired:,}", "no longer asked for")
    counts.add_row("rate", "", _speed(status.rate))
    for line in status.at_work[:WORKERS]:
        counts.add_row("at work", "", line)
    if len(status.at_work) > WORKERS:
        counts.add_row("", "", f"and {len(status.at_work) - WORKERS:,} more workers")
    said = [Text(text, "red", overflow="ellipsis", no_wrap=True) for text in status.errors]
    return Group(*parts, counts, *said)


def _to_go(status: Status) -> str:
    if not status.left:
        return ""
    told = f"about {duration(status.seconds_left)}"
    if not status.idle:
        return f"{told} to go"
    return "nobody is at work: `sdbatch run` goes on" + (f", {told}" if status.seconds_left is not None else "")


def _errors(failures: pa.Table, failed: pa.Array) -> tuple[str, ...]:
    if "error" not in failures.column_names or "message" not in failures.column_names or not len(failed):
        return ()
    rows = set(failed.to_pylist())
    latest = {line["row"]: line for line in failures.sort_by("when").to_pylist() if line["row"] in rows}
    last = sorted(latest.values(), key=lambda line: line["when"], reverse=True)[:ERRORS]
    return tuple(f"row {line['row']}: {line['error']}: {' '.join(line['message'].split())[:300]}" for line in last)


def _dropped(failures: pa.Table) -> pa.Array:
    """Rows whose latest failure is that a guard dropped them."""
    if "error" not in failures.column_names:
        return pa.nulls(0, pa.string())
    latest = {line["row"]: line["error"] for line in failures.sort_by("when").to_pylist()}
    return arrow.texts([row for row, error in latest.items() if error == DROPPED])  # pa.array would import pandas


def _quarantined(failures: pa.Table, failed: pa.Array) -> int:
    if "error" not in failures.column_names:
        return 0
    latest = {line["row"]: line["error"] for line in failures.sort_by("when").to_pylist()}
    return sum(latest[row] == "Quarantined" for row in failed.to_pylist())


def _degraded(manifest: pa.Table) -> int:
    if "degraded" not in manifest.column_names:
        return 0
    return len(pc.unique(manifest.filter(pc.is_valid(manifest["degraded"]))["row"]))


def _set(values: pa.Array | pa.ChunkedArray) -> pa.Array:
    return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values


def _outside(values: pa.Array | pa.ChunkedArray, others: pa.Array | pa.ChunkedArray) -> pa.Array:
    values = _set(values).cast(pa.string())
    return values.filter(pc.invert(pc.is_in(values, _set(others).cast(pa.string()))))


def _moment(when: pa.TimestampScalar) -> datetime:
    """A time in microseconds; not `as_py`, which imports pandas."""
    return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=when.value)


def _rate(manifest: pa.Table, started: Mapping[str, str]) -> float | None:
    if not manifest.num_rows:
        return None
    when = pc.cast(manifest["finished_at"], pa.timestamp("us", tz="UTC"))
    last = pc.max(when)
    run = manifest["run"][pc.index(when, last).as_py()]
    if run.is_valid:
        latest = pc.equal(manifest["run"], run)
        when, manifest = when.filter(latest), manifest.filter(latest)
    if run.as_py() in started:
        spent = (_moment(last) - datetime.fromisoformat(started[run.as_py()])).total_seconds()
        return manifest.num_rows / spent if spent > 0 else None
    first = pc.min(when)
    span = (_moment(last) - _moment(first)).total_seconds()
    if span > 0:
        # The first batch began before the span did, so it is not counted.
        later = pc.sum(pc.greater(when, first)).as_py()
        return float(later / span)
    busy = pc.sum(manifest["seconds"]).as_py()
    return float(manifest.num_rows / busy) if busy else None


def plural(number: int, noun: str) -> str:
    """A number with its noun."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _speed(rate: float | None) -> str:
    if rate is None:
        return "-"
    if rate >= 1:
        return f"{rate:.1f} a second"
    return f"{rate * 60:.1f} a minute" if rate >= 1 / 60 else f"{rate * 3600:.1f} an hour"


def duration(seconds: float | None) -> str:
    """A time as people say it."""
    if seconds is None:
        return "?"
    minutes, days = round(seconds / 60), seconds / 86400
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    if minutes < 90:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60:02d} min" if days < 2 else f"{days:.1f} days"
