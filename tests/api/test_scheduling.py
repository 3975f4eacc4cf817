"""Lines for cron and systemd: they name what runs, when it is meant, and nothing is installed."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdbatch.api import scheduling
from sdbatch.errors import SpecError, UsageError

ANALYZE = shutil.which("systemd-analyze")
systemd = pytest.mark.skipif(ANALYZE is None, reason="no systemd-analyze here")
JOB = "prompt: a star\nsteps: 1\nrender: {threads: 1}\n"


def fires(cron: str, at: datetime) -> bool:
    """Whether cron runs a line in this minute: crontab(5), written down once more."""
    minute, hour, day, month, week = (field.split(",") for field in cron.split())
    names = dict(zip("sun mon tue wed thu fri sat".split(), range(7), strict=True))

    def fits(items: list[str], value: int, low: int, high: int) -> bool:
        for item in items:
            span, _, step = item.partition("/")
            first, _, last = ("", "", "") if span == "*" else span.partition("-")
            begin = low if span == "*" else int(names.get(first.lower(), first))
            end = high if span == "*" or (step and not last) else int(names.get(last.lower(), last) if last else begin)
            if begin <= value <= end and (value - begin) % int(step or 1) == 0:
                return True
        return False

    days = fits(day, at.day, 1, 31)
    sunday = at.isoweekday() % 7
    weeks = fits(week, sunday, 0, 7) or (sunday == 0 and fits(week, 7, 0, 7))
    both = not (day[0].startswith("*") or week[0].startswith("*"))
    return (
        fits(minute, at.minute, 0, 59)
        and fits(hour, at.hour, 0, 23)
        and fits(month, at.month, 1, 12)
        and (days or weeks if both else days and weeks)
    )


CRONS = [
    "0 1 * * *", "*/15 * * * *", "5-50/15 9-17 * * mon-fri", "0 0 1,15 * *", "30 6 1 1 *", "0 12 13 * 5", "0 3 * * 0",
    "0 3 * * 7", "0 4 * * 6-7", "59 23 31 12 *", "7 5/6 2-4 3,6 *", "0 0 */2 * 1",
]  # fmt: skip


@systemd
@pytest.mark.parametrize("cron", CRONS)
def test_systemd_takes_a_cron_line_for_the_same_moments(cron: str) -> None:
    moments: set[datetime] = set()
    for one in scheduling.calendar(cron):
        command = [str(ANALYZE), "calendar", "--iterations=40", "--base-time=2026-11-26 00:00:00 UTC", f"{one} UTC"]
        said = subprocess.run(command, check=True, capture_output=True, text=True, env={"TZ": "UTC", "LC_ALL": "C"})
        found = re.findall(r"(\d{4}-\d\d-\d\d \d\d:\d\d):00 UTC", said.stdout.partition("Next elapse:")[2])
        moments |= {datetime.strptime(text, "%Y-%m-%d %H:%M") for text in found}
    start = datetime(2026, 11, 26) + timedelta(minutes=1)  # systemd names the moment after its base
    year = start + timedelta(days=366)  # enough for a yearly one, and every minute of it is looked at
    few = sorted(at for at in moments if at < year)[:30]
    assert few
    minutes = (start + timedelta(minutes=ahead) for ahead in range(int((few[-1] - start) / timedelta(minutes=1)) + 1))
    assert [at for at in minutes if fires(cron, at)] == [at for at in few if at >= start]


@pytest.mark.parametrize(
    ("cron", "said"),
    [
        ("", "five fields"), ("0 1 * *", "five fields"), ("* * * * * *", "five fields"), ("@reboot", "five fields"),
        ("60 1 * * *", "'60' is no minute: 0 to 59"), ("0 24 * * *", "no hour"), ("0 1 0 * *", "no day of the month"),
        ("0 1 * 13 *", "no month"), ("0 1 * * 8", "no day of the week"), ("0 1 * * moon", "'moon'"),
        ("5-1 * * * *", "'5-1'"),
        ("*/0 * * * *", "'[*]/0'"), ("1, * * * *", "''"), ("a-b * * * *", "'a-b'"), ("² * * * *", "'²'"),
    ],
)  # fmt: skip
def test_what_is_no_cron_line(cron: str, said: str, write: Callable[[str, str], Path]) -> None:
    with pytest.raises(UsageError, match=said):
        scheduling.scheduled(write("a.yaml", JOB), cron)


@given(st.text("0123456789*/,-@ monSAT", max_size=14))
def test_any_text_is_a_cron_line_or_an_error(text: str) -> None:
    try:
        assert scheduling.calendar(text)
    except UsageError as error:
        said = str(error)
    else:
        said = "--cron"
    assert "--cron" in said


def test_a_spec_or_an_end_that_is_wrong_is_said_now_and_not_at_night(write: Callable[[str, str], Path]) -> None:
    with pytest.raises(SpecError, match="promt"):
        scheduling.scheduled(write("a.yaml", "promt: a star\n"), "@daily")
    with pytest.raises(UsageError, match="--until"):
        scheduling.scheduled(write("b.yaml", JOB), "@daily", until="6 o'clock")


@pytest.mark.slow
def test_the_cron_line_runs_from_anywhere_without_an_environment(tmp_path: Path) -> None:
    folder = tmp_path / "100% my jobs"
    folder.mkdir()
    (folder / "a b.yaml").write_text(JOB + 'output: {dir: "out/{date}"}\n')
    made = scheduling.scheduled(folder / "a b.yaml", "30 1 * * *", until="06:00")
    comment, line = scheduling.crontab(made).splitlines()
    assert comment.startswith("# ") and line.startswith("30 1 * * * ") and "100\\% my" in line
    command = line.removeprefix("30 1 * * * ").replace("\\%", "%")  # as cron gives it to the shell
    ended = subprocess.run(
        ["/bin/sh", "-c", command], cwd="/", env={"HOME": str(tmp_path)}, capture_output=True, check=False
    )
    log = next(folder.glob("*.log")).read_text()
    assert ended.returncode == 0 and not ended.stdout, log
    assert "1 made" in log
    (directory,) = (folder / "out").iterdir()
    assert datetime.fromisoformat(directory.name)


def test_every_path_is_absolute(write: Callable[[str, str], Path], cwd: Path) -> None:
    job = write("jobs/a.yaml", JOB).relative_to(cwd)
    for out, folder in ((None, cwd / "runs" / "a"), (Path("x"), cwd / "x")):
        made = scheduling.scheduled(job, "@daily", out=out)
        words = shlex.split(scheduling.crontab(made).splitlines()[1])
        assert words[words.index("run") + 1] == str(cwd / "jobs" / "a.yaml")
        assert words[words.index("--out") + 1] == str(folder)
    assert list(cwd.iterdir()) == [cwd / "jobs"], "nothing is written"


def test_line_breaks_in_a_path_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a\nb").mkdir()
    (tmp_path / "a\nb" / "x.yaml").write_text(JOB)
    with pytest.raises(UsageError, match="line break"):
        scheduling.scheduled(tmp_path / "a\nb" / "x.yaml", "@daily")


@systemd
def test_systemd_finds_nothing_wrong_with_the_units(tmp_path: Path) -> None:
    folder = tmp_path / "my 5% jobs"
    folder.mkdir()
    (folder / "a.yaml").write_text("name: nightly stars\n" + JOB)
    units = scheduling.systemd(scheduling.scheduled(folder / "a.yaml", "0 1 13 * 5", out=tmp_path / 'o"$u'))
    for name, text in units.items():
        (tmp_path / name).write_text(text)
    said = subprocess.run(
        [str(ANALYZE), "verify", "--man=no", *(str(tmp_path / name) for name in units)],
        capture_output=True,
        text=True,
        check=False,
    )
    about = [line for line in said.stderr.splitlines() if "sdbatch-nightly" in line]
    assert said.returncode == 0 and about == [], said.stderr
    service, timer = units.values()
    assert "SuccessExitStatus=75" in service and str(folder).replace("%", "%%") in service and 'o\\"$$u"' in service
    assert timer.count("OnCalendar=") == 2


def test_from_the_command_line(
    sdbatch: Callable[..., subprocess.CompletedProcess[str]], write: Callable[[str, str], Path]
) -> None:
    write("a.yaml", JOB)
    shown = sdbatch("schedule", "a.yaml", "--cron", "@daily", "--time-limit", "2h")
    assert shown.returncode == 0 and "\n0 0 * * * cd " in shown.stdout and "--time-limit 2h" in shown.stdout
    units = sdbatch("schedule", "a.yaml", "--cron", "@daily", "--systemd")
    assert "[Timer]" in units.stdout and "systemctl --user" in units.stderr
    wrong = sdbatch("schedule", "a.yaml", "--cron", "every night")
    assert wrong.returncode == 2 and "five fields" in wrong.stderr and "Traceback" not in wrong.stderr
