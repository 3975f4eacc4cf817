"""A run's numbers for Prometheus, in a file that node_exporter's textfile collector reads."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Gauge, write_to_textfile

from sdbatch.errors import UsageError

if TYPE_CHECKING:
    from sdbatch.plan import Plan
    from sdbatch.types import LeaseResult

SECONDS = 5.0
"""Between two writings, at least."""
_ABOUT = {
    "rows": "Rows of the job by state: done, failed in this run, or left to make.",
    "rows_made": "Rows that this run made.",
    "rows_per_second": "Rows that this run made a second.",
    "seconds_to_go": "Seconds until the rows left are made, at that rate.",
    "run_start_timestamp_seconds": "When the run began.",
    "run_end_timestamp_seconds": "When it ended; 0 while it goes on.",
    "run_exit_code": "The exit code of the run; -1 while it goes on.",
}


class Metrics:
    """Counts a run's rows into a file, renamed into place so that it is never read half written.

    Args:
        path: ends in `.prom` where node_exporter is to read it.
        job: the job's name, the label `job_name` of each number.
        say: told where the file cannot be written once the run is under way; the run goes on.

    Raises:
        UsageError: the file cannot be written.
    """

    def __init__(self, path: Path, job: str, say: Callable[[str], None] = lambda text: None) -> None:
        self._path, self._say = path, say
        self._registry = CollectorRegistry()
        names = {name: ["job_name", "state"] if name == "rows" else ["job_name"] for name in _ABOUT}
        gauges = {name: Gauge(f"sdbatch_{name}", _ABOUT[name], labels, registry=self._registry)
                  for name, labels in names.items()}  # fmt: skip
        self._rows = gauges.pop("rows")
        self._gauges = {name: gauge.labels(job) for name, gauge in gauges.items()}
        self._job = job
        self._before = self._left = self._made = self._failed = 0
        self._began = self._written = time.monotonic()
        self._told = False
        self._gauges["run_start_timestamp_seconds"].set(time.time())
        self._gauges["run_exit_code"].set(-1)
        try:
            self._write()
        except OSError as error:
            raise UsageError(f"--metrics {path}: cannot be written: {error.strerror or error}") from error

    def begin(self, planned: Plan, left: int, directory: Path) -> None:
        """So many rows are to be made."""
        if not self._left:  # else this is a later stage
            self._began = time.monotonic()
        self._before, self._left = self._before + planned.done, self._left + left
        self._update()

    def rows(self, count: int) -> None:
        """Nothing: rows count when they are committed."""

    def result(self, result: LeaseResult) -> None:
        """A lease was committed."""
        self._made, self._failed = self._made + len(result.records), self._failed + result.failed
        if time.monotonic() - self._written >= SECONDS:
            self._update()

    def say(self, text: str) -> None:
        """Nothing."""

    def end(self, exit_code: int) -> None:
        """The run ended."""
        self._gauges["run_end_timestamp_seconds"].set(time.time())
        self._gauges["run_exit_code"].set(exit_code)
        self._update()

    def _update(self) -> None:
        took = time.monotonic() - self._began
        rate = self._made / took if took > 0 else 0.0
        left = self._left - self._made - self._failed
        for state, count in (("done", self._before + self._made), ("failed", self._failed), ("left", left)):
            self._rows.labels(self._job, state).set(count)
        self._gauges["rows_made"].set(self._made)
        self._gauges["rows_per_second"].set(rate)
        self._gauges["seconds_to_go"].set(left / rate if rate else 0.0 if not left else float("nan"))
        try:
            self._write()
        except OSError as error:
            if not self._told:
                self._say(f"--metrics {self._path}: cannot be written: {error.strerror or error}")
            self._told = True

    def _write(self) -> None:
        write_to_textfile(str(self._path), self._registry)
        self._written = time.monotonic()
