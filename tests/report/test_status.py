"""Counts, rate and time to go."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa
import pytest
from rich.console import Console

from sdbatch.report.status import Status, measure, render_text

MANIFEST = pa.schema(
    [("row", pa.string()), ("finished_at", pa.string()), ("seconds", pa.float64()), ("run", pa.string())]
)
FAILURES = pa.schema([("row", pa.string()), ("attempt", pa.int64()), ("run", pa.string())])


def made(*rows: tuple[str, float, str]) -> pa.Table:
    """Rows of (row, seconds after noon, run)."""
    lines = [
        {"row": row, "finished_at": f"2030-01-01T12:00:{at:09.6f}+00:00", "seconds": 0.5, "run": run}
        for row, at, run in rows
    ]
    return pa.Table.from_pylist(lines, MANIFEST)


def failed(*rows: str, run: str = "r1") -> pa.Table:
    return pa.Table.from_pylist([{"row": row, "attempt": 1, "run": run} for row in rows], FAILURES)


def text(status: Status) -> str:
    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(render_text(status))
    return console.export_text()


def test_counts() -> None:
    status = measure(
        made(("a", 0, "r1"), ("b", 1, "r1"), ("old", 2, "r1")),
        failed("b", "c", "c", "gone"),
        {"a", "b", "c", "d"},
        job="j",
    )
    # b was made after all, gone is no longer asked for, and c failed twice but is one row.
    assert (status.rows, status.done, status.failed, status.left, status.retired) == (4, 2, 1, 2, 1)
    assert (status.runs, status.job) == (1, "j")


def test_a_row_recorded_twice_counts_once() -> None:
    status = measure(made(("a", 0, "r1"), ("a", 1, "r2")), failed(), ["a", "a", "b"])
    assert (status.rows, status.done, status.left, status.runs) == (2, 1, 1, 2)


def test_without_a_job() -> None:
    status = measure(made(("a", 0, "r1")), failed("b", run="r2"))
    assert (status.rows, status.done, status.failed, status.left, status.retired) == (None, 1, 1, None, 0)
    assert status.seconds_left is None and status.runs == 2
    assert "%" not in text(status)


def test_the_rate_is_of_the_latest_run_alone() -> None:
    slow = [("a", 0.0, "r1"), ("b", 40.0, "r1")]
    fast = [(f"x{n}", 50 + n // 2 * 0.5, "r2") for n in range(8)]  # batches of two, every half second
    status = measure(made(*slow, *fast), failed(), [f"w{n}" for n in range(20)])
    assert status.rate == pytest.approx(4.0)
    assert status.seconds_left == pytest.approx(5.0)


def test_one_batch_is_timed_by_its_own_seconds() -> None:
    assert measure(made(("a", 3, "r1"), ("b", 3, "r1")), failed(), ["a", "b"]).rate == pytest.approx(2.0)


@pytest.mark.parametrize("stamp", ["2030-01-01T12:00:00Z", "2030-01-01T12:00:00.5+00:00", "2030-01-01T14:00:00+02:00"])
def test_ways_to_write_a_time(stamp: str) -> None:
    line = {"row": "a", "finished_at": stamp, "seconds": 0.25, "run": "r"}
    assert measure(pa.Table.from_pylist([line], MANIFEST), failed()).rate == pytest.approx(4.0)


def test_nothing_yet() -> None:
    status = measure(made(), failed(), ["a"])
    assert (status.rows, status.done, status.left, status.rate, status.seconds_left) == (1, 0, 1, None, None)
    assert "0 %" in text(status)
    assert measure(made(), failed(), []).rows == 0
    assert text(measure(made(), failed(), []))


def test_arrow_keys() -> None:
    for wanted in (pa.array(["a", "b"]), pa.chunked_array([["a"], ["b"]]), pa.array(["a", "b"], pa.large_string())):
        assert measure(made(("a", 0, "r1")), failed(), wanted).left == 1


def test_text() -> None:
    shown = text(Status(1000, 999, 1, 1, 3, 0.5, 7300.0, 2, "shapes-sweep"))
    for part in ("shapes-sweep", "2 runs", "99 %", "999", "of 1,000", "2 h 02 min", "30.0 a minute", "no longer"):
        assert part in shown
    assert "100 %" in text(Status(4, 4, 0, 0, 0, 2.0, 0.0, 1, "j"))


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.2, "1 s"), (59, "59 s"), (120, "2 min"), (5399, "1 h 30 min"), (200_000, "2.3 days"), (None, "?")],
)
def test_durations(seconds: float | None, shown: str) -> None:
    assert f"about {shown} to go" in text(Status(9, 1, 0, 8, 0, 1.0, seconds, 1, "j"))


def test_errors_and_workers_are_told() -> None:
    lines = tuple(f"host-{at}: 4 rows in hand, cpu, demo, batches of 4, 600 MiB" for at in range(18))
    shown = text(Status(9, 1, 2, 8, 0, 1.0, 8.0, 1, "j", errors=("row a: InputError: gone",), at_work=lines))
    assert "row a: InputError: gone" in shown and shown.count("at work") == 16 and "and 2 more workers" in shown


def test_it_says_where_nobody_is_at_work() -> None:
    there = measure(made(("a", 0, "r1"), ("b", 1, "r1")), failed(), ["a", "b", "c"])
    assert "about 1 s to go" in text(there) and "nobody" not in text(there)
    assert "nobody is at work: `sdbatch run` goes on, about 1 s" in text(replace(there, idle=True))


def test_a_row_that_a_worker_died_with_has_not_failed() -> None:
    lost = pa.Table.from_pylist([{"row": row, "attempt": int(row == "b"), "run": "r1"} for row in "ab"], FAILURES)
    assert measure(made(("c", 0, "r1")), lost, ["a", "b", "c"]).failed == 1
