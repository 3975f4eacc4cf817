"""When a run is to end, and that it does: what is begun is finished, and the next night goes on."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdbatch import api
from sdbatch.api import deadlines
from sdbatch.errors import UsageError
from sdbatch.render.batch import Picture
from sdbatch.workers import worker

NOW = datetime(2026, 11, 27, 1, 30, 15, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2h", 7200), ("90m", 5400), ("1h30m", 5400), ("1.5h", 5400), ("45s", 45), ("45", 45), ("2d", 172_800),
        (" 1H ", 3600), ("0.5", 0.5), ("1d2h3m4s", 93_784),
    ],
)  # fmt: skip
def test_lengths_of_time(text: str, seconds: float) -> None:
    assert deadlines.length(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text", ["", "2 hours", "h", "-1h", "0", "0s", "1h1h", "30m2h", "1e3", "nan", "9999999d", "²h"]
)
def test_what_is_no_length_of_time(text: str) -> None:
    with pytest.raises(UsageError, match="--time-limit"):
        deadlines.length(text)


@given(st.text(max_size=12))
def test_any_text_is_a_length_or_an_error(text: str) -> None:
    with suppress(UsageError):
        assert deadlines.length(text) > timedelta(0)
    with suppress(UsageError):
        assert deadlines.moment(text, NOW) > NOW


@given(st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1)), st.integers(0, 23), st.integers(0, 59))
def test_a_time_of_day_is_the_next_one(now: datetime, hour: int, minute: int) -> None:
    here = now.astimezone()
    found = deadlines.moment(f"{hour}:{minute:02d}", here)
    assert (found.hour, found.minute, found.second) == (hour, minute, 0)
    assert timedelta(0) < found - here <= timedelta(days=1, hours=1)  # a day of 25 hours


def test_moments() -> None:
    assert deadlines.moment("2026-11-27T06:00+00:00", NOW) == datetime(2026, 11, 27, 6, tzinfo=UTC)
    assert deadlines.moment("6:00:30", NOW).second == 30
    for text in ("2026-11-27T01:00+00:00", "2026-12-24", "24:00", "6", "06:60", "6 pm", "", "noon"):
        with pytest.raises(UsageError, match="--until"):
            deadlines.moment(text, NOW)


def test_the_earlier_one_counts() -> None:
    assert deadlines.earliest(None, None, NOW) is None
    assert deadlines.earliest("2h", "2026-11-27T06:00+00:00", NOW) == NOW + timedelta(hours=2)
    assert deadlines.earliest("8h", "2026-11-27T06:00+00:00", NOW) == datetime(2026, 11, 27, 6, tzinfo=UTC)


@dataclass
class Clock:
    """Seconds that pass while something is rendered, and only then."""

    now: float = 0.0


@dataclass(frozen=True)
class Night(api.RunOptions):
    """Options with an end by that clock."""

    deadline: datetime | None = NOW
    clock: Clock = field(default_factory=Clock)
    end: float = 0.0

    def seconds_left(self) -> float:
        return self.end - self.clock.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Every batch takes a second."""
    clock = Clock()

    class StandIn:
        def __init__(self, *_: Any) -> None: ...

        def render(self, rows: Sequence[Any], size: int, **how: Any) -> list[Picture]:
            clock.now += 1.0
            return [Picture(np.full((64, 64, 3), row.params["seed"], np.uint8)) for row in rows]

    monkeypatch.setattr(worker, "Renderer", StandIn)
    monkeypatch.setattr(worker, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    return clock


class Quiet:
    """A listener that hears nothing."""

    def begin(self, planned: Any, left: int, directory: Path) -> None: ...

    def rows(self, count: int) -> None: ...

    def result(self, result: Any) -> None: ...

    def say(self, text: str) -> None: ...


@pytest.fixture
def night(clock: Clock, write: Callable[[str, str], Path], tmp_path: Path) -> Callable[[float], api.RunReport]:
    """A run of so many seconds; the job takes twenty."""
    spec = write("long.yaml", "prompt: a star\ngrid: {seed: {range: [0, 40]}}\nrender: {batch_size: 2}\n")

    def _night(seconds: float) -> api.RunReport:
        options = Night(clock=clock, end=clock.now + seconds)
        return api.run(api.job(spec, out=tmp_path / "run"), options, Quiet())

    return _night


def test_three_nights_complete_a_job_that_is_too_long_for_two(night: Callable[[float], api.RunReport]) -> None:
    nights = [night(8.0) for _ in range(3)]
    assert [(one.made, one.left, one.exit_code) for one in nights] == [(16, 24, 75), (16, 8, 75), (8, 0, 0)]
    assert [one.timed_out for one in nights] == [True, True, False]
    again = night(8.0)
    assert (again.made, again.done, again.exit_code) == (0, 40, 0)


def test_no_lease_is_begun_that_cannot_be_finished(night: Callable[[float], api.RunReport], clock: Clock) -> None:
    report = night(6.5)
    assert (clock.now, report.made, report.exit_code) == (6.0, 12, 75), "a seventh batch would end at seven seconds"


def test_a_night_that_is_too_short_for_a_lease_keeps_the_batches_that_it_made(
    night: Callable[[float], api.RunReport],
) -> None:
    assert [night(0.5).made for _ in range(2)] == [2, 2]
    assert night(0.0).made == 0
    assert night(100.0).exit_code == 0


@pytest.mark.slow
def test_from_the_command_line(sdbatch: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("prompt: a star\nsteps: 1\ngrid: {seed: {range: [0, 4]}}\nrender: {threads: 1}\n")
    short = sdbatch("run", "a.yaml", "--time-limit", "0.001s")
    assert short.returncode == 75 and "the time is up" in short.stderr and "4 left" in short.stderr
    assert sdbatch("run", "a.yaml", "--until", "25:00").returncode == 2
    whole = sdbatch("run", "a.yaml", "--time-limit", "1h", "--until", "00:00")
    assert whole.returncode == 0, whole.stderr
