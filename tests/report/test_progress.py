"""What is said of a run while it goes on."""

from __future__ import annotations

import pytest

from sdbatch.report.progress import FAILURES, Progress
from sdbatch.types import Failure, Lease, LeaseResult


def failure(row: str, attempt: int) -> Failure:
    return Failure("i", row, attempt, "InputError", f"message of {row}, {attempt}", "2030", "here")


def test_each_row_that_failed_is_told_once_and_the_rest_counted(capsys: pytest.CaptureFixture[str]) -> None:
    told = Progress(quiet=False)
    told.start("begins", 5)
    lost = tuple(failure(row, attempt) for row in "abcde" for attempt in (1, 2))
    made = ({"row": "z", "seconds": 1.0},)
    told.result(LeaseResult(Lease(0, ()), made, (failure("z", 1), *lost)))
    _, *lines = capsys.readouterr().err.splitlines()
    assert lines[:FAILURES] == [f"row {row} failed: InputError: message of {row}, 2" for row in "abc"]
    assert lines[FAILURES].startswith("and 2 more rows failed") and len(lines) == FAILURES + 1
