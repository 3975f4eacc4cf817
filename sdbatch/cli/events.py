"""A run's progress as JSON, one object a line on standard error: for programs that watch."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdbatch.report.progress import Progress

if TYPE_CHECKING:
    from sdbatch.api import RunReport
    from sdbatch.plan import Plan
    from sdbatch.types import LeaseResult


class Events(Progress):
    """Progress of the same counts, told as events."""

    def __init__(self, *, quiet: bool) -> None:
        super().__init__(quiet=quiet)
        self._live = False

    def begin(self, planned: Plan, left: int, directory: Path) -> None:
        """The run starts."""
        self._begin(left)
        self._expect(planned, left)
        counts = {"rows": planned.rows, "done": planned.done, "left": left, "held": planned.held}
        self._event("begin", directory=str(directory), **counts, retired=planned.retired)

    def result(self, result: LeaseResult) -> None:
        """A lease was committed."""
        count = self._counted(result)
        for failure in result.failures:
            self._event("row_failed", row=failure.row, error=failure.error, message=failure.message)
        about = result.worker or {}
        self._event(
            "lease",
            lease=result.lease.number,
            made=len(result.records),
            failed=result.failed,
            worker=f"{about['host']}:{about['pid']}" if about else None,
        )
        self._weigh(result)
        self._advance(count)

    def say(self, text: str) -> None:
        """Something worth a line."""
        self._event("note", message=text)

    def end(self, report: RunReport) -> None:
        """The run ended."""
        self._event("end", **asdict(report), exit_code=report.exit_code)

    def failed(self, message: str, exit_code: int) -> None:
        """An error ended the run."""
        self._event("error", message=message, exit_code=exit_code)

    def _line(self, rate: float, seconds: float | None) -> None:
        counts = {"done": self._done, "left": self._left - self._done, "failed": self._failed}
        self._event("progress", **counts, rate=round(rate, 4), to_go=None if seconds is None else round(seconds, 1))

    def _event(self, event: str, **values: Any) -> None:
        if not self._quiet:
            from sdbatch.store.directory import now

            print(
                json.dumps({"time": now(), "event": event, **values}, ensure_ascii=False), file=sys.stderr, flush=True
            )
