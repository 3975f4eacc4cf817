"""Jobs of the day: the date in output.dir and as a seed, fixed where the run is begun."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from sdbatch import prepare
from sdbatch.errors import SpecError
from sdbatch.spec import dates, dump, load

Write = Callable[[str, str], Path]
DAILY = 'name: stars\nprompt: a star\nseed: {from: date}\noutput: {dir: "../renders/{date}-{name}"}\n'


@pytest.fixture(autouse=True)
def day(monkeypatch: pytest.MonkeyPatch) -> list[date]:
    """What day it is; may be changed."""
    found = [date(2026, 3, 9)]
    monkeypatch.setattr(dates, "today", lambda: found[0])
    return found


def test_a_days_job_has_its_directory_and_its_seed(write: Write, tmp_path: Path, day: list[date]) -> None:
    path = write("jobs/daily.yaml", DAILY)
    for today, folder, seed in (
        (day[0], "2026-03-09-stars", 20260309),
        (date(2027, 12, 1), "2027-12-01-stars", 20271201),
    ):
        day[0] = today
        job = prepare.job(path)
        assert job.directory.path.resolve() == tmp_path / "renders" / folder
        assert [row.params["seed"] for row in job.rows.take([0])] == [seed]


def test_what_a_run_was_begun_with_stays(write: Write, tmp_path: Path, day: list[date]) -> None:
    job = prepare.job(write("jobs/daily.yaml", DAILY))
    write("run/job.yaml", dump.resolved(job.spec, job.render, tmp_path / "run"))
    day[0] = date(2027, 1, 1)
    again = prepare.job(tmp_path / "run")
    assert again.rows.take([0])[0].id == job.rows.take([0])[0].id
    assert again.directory.path == tmp_path / "run"


def test_in_a_grid_it_is_an_axis_of_one(write: Write) -> None:
    job = load.job(write("a.yaml", "prompt: a {day} star\ngrid: {day: {from: date}, seed: [1, 2]}\n"))
    assert [list(axis.values) for axis in job.axes] == [[20260309], [1, 2]]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("seed: {from: time}\n", "'time' is not date"),
        ("seed: {from: [date]}\n", "is not date"),
        ("prompt: {from: date}\n", "prompt is not one"),
        ("guidance_scale: {from: date}\n", "guidance_scale is not one"),
        ('output: {dir: "x/{seed}"}\n', "has the fields {date}, {name}"),
        ('output: {dir: "x/{date:%Y}"}\n', "output.dir"),
    ],
)
def test_what_is_no_date(write: Write, text: str, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        load.job(write("a.yaml", text))
