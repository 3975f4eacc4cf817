"""How a run looks while it goes on: bars on a terminal, plain lines elsewhere; always on standard error."""

from __future__ import annotations

import sys
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from sdbatch.report.forecast import Forecast

if TYPE_CHECKING:
    from sdbatch.plan import Plan
    from sdbatch.types import LeaseResult

LINE_SECONDS = 10.0
FAILURES = 3
"""Of one lease, that are told."""


class Progress:
    """Rows done, rate, time to go, and a line a worker."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet, self._live = quiet, sys.stderr.isatty() and not quiet
        self._done = self._failed = self._left = 0
        self._settled = 0  # rows of the lease in hand that `rows` has counted already
        self._began = self._shown = time.monotonic()
        self._workers: Counter[str] = Counter()
        self._forecast = Forecast()
        self._bars: Any = None
        self._drawing = ExitStack()
        self._tasks: dict[str, Any] = {}

    @property
    def seconds(self) -> float:
        """Seconds since the run began to make rows."""
        return time.monotonic() - self._began

    def __enter__(self) -> Self:
        if self._live:
            from sdbatch.report import terminal

            self._bars = terminal.bars()
            self._drawing.enter_context(terminal.steady(self._bars))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._drawing.close()
        self._bars = None

    def begin(self, planned: Plan, left: int, directory: Path) -> None:
        """The run starts."""
        from sdbatch.report.status import plural
        from sdbatch.sources import remote

        parts = [plural(planned.rows, "row"), f"{planned.done} done before", f"{left} to make"]
        if len(planned.recorded):
            parts.append(f"{len(planned.recorded)} to record (their pictures are there)")
        if planned.held:
            parts.append(f"{planned.held} failed before and left alone")
        if planned.retired:
            parts.append(f"{planned.retired} more there that this job does not ask for (retired)")
        if planned.duplicates:
            parts.append(f"{planned.duplicates} written twice in the spec and made once")
        self.start(f"{remote.url(directory) or directory}: {', '.join(parts)}", left)
        self._expect(planned, left)

    def start(self, text: str, left: int) -> None:
        """So many rows are about to be made."""
        self._begin(left)
        self.say(text)
        if self._bars and "" not in self._tasks:
            self._tasks[""] = self._bars.add_task("rows", total=left, count="", about="")
        elif self._bars:
            self._bars.update(self._tasks[""], total=self._left, count=f"{self._done}/{self._left}")

    def rows(self, count: int) -> None:
        """A batch came to an end in this process."""
        self._settled += count
        self._advance(count)

    def result(self, result: LeaseResult) -> None:
        """A lease was committed."""
        count = self._counted(result)
        made = {record["row"] for record in result.records}
        # Of each row the last, unless it was made then.
        failures = list({one.row: one for one in result.failures if one.row not in made}.values())
        for failure in failures[:FAILURES]:
            self.say(f"row {failure.row} failed: {failure.error}: {failure.message}")
        if len(failures) > FAILURES:
            self.say(f"and {len(failures) - FAILURES} more rows failed; `failures/` in the run directory has them all")
        about = result.worker
        if about:
            self._worker(f"{about['host']}:{about['pid']} {about['device']}", result, about["rss"])
        self._weigh(result)
        self._advance(count)

    def say(self, text: str) -> None:
        """Print a line above the bars."""
        if self._quiet:
            return
        if self._bars:
            self._bars.console.print(text, highlight=False, markup=False)
        else:
            sys.stderr.write(f"{text}\n")
            sys.stderr.flush()

    def _expect(self, planned: Plan, left: int) -> None:
        if left == len(planned.order):  # else only some of them are made, and which kinds those are is not known
            self._forecast.begin([cell.rows for cell in planned.kinds])

    def _weigh(self, result: LeaseResult) -> None:
        seconds = [float(record["seconds"]) for record in result.records]
        settled = len(result.lease.rows) - len(result.left)
        self._forecast.heard(result.lease.cell, settled, seconds, self.seconds)

    def _begin(self, left: int) -> None:
        if not self._left:  # else this is a later stage
            self._began = time.monotonic()
        self._left = self._done + left

    def _counted(self, result: LeaseResult) -> int:
        """How many rows this lease settled that `rows` has not counted."""
        self._failed += result.failed
        count = len(result.records) + result.failed - self._settled
        self._settled = 0
        return count

    def _advance(self, count: int) -> None:
        self._done += count
        took = time.monotonic() - self._began
        rate = self._rate(took)
        if self._bars:
            failed = f", {self._failed} failed" if self._failed else ""
            about = f"{rate:.2f} rows/s{failed}{self._to_go(self._seconds_left(took, rate))}"
            self._bars.update(self._tasks[""], advance=count, count=f"{self._done}/{self._left}", about=about)
        elif time.monotonic() - self._shown > LINE_SECONDS:
            self._shown = time.monotonic()
            self._line(rate, self._seconds_left(took, rate))

    def _line(self, rate: float, seconds: float | None) -> None:
        """How far it is, now and then."""
        to_go = self._to_go(seconds)
        self.say(f"{self._done}/{self._left} rows, {self._failed} failed, {rate:.2f} rows/s{to_go}")

    def _rate(self, took: float) -> float:
        """Rows a second since the first batch began."""
        took -= self._forecast.lost
        return self._done / took if took > 0 else 0.0

    def _seconds_left(self, took: float, rate: float) -> float | None:
        seconds = self._forecast.seconds_left(took, self._settled)
        return (self._left - self._done) / rate if seconds is None and rate else seconds

    def _to_go(self, seconds: float | None) -> str:
        from sdbatch.report.status import duration

        return "" if seconds is None or self._done >= self._left else f", {duration(seconds)} to go"

    def _worker(self, name: str, result: LeaseResult, memory: int) -> None:
        self._workers[name] += len(result.records)
        if not self._bars:
            return
        if name not in self._tasks:
            self._tasks[name] = self._bars.add_task(f"  {name}", total=self._left, count="", about="")
        done = self._workers[name]
        last = result.records[-1] if result.records else {}
        parts = [str(last["model"]), f"batches of {last['batch_size']}"] if last else []
        about = ", ".join([*parts, f"{memory / 2**20:,.0f} MiB"])
        self._bars.update(self._tasks[name], total=self._left, completed=done, count=str(done), about=about)
