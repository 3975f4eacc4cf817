"""A job's lines for cron and for systemd; nothing is installed."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sdbatch import prepare, recipes
from sdbatch.api import deadlines
from sdbatch.errors import UsageError
from sdbatch.spec import load

MACROS = {
    "@hourly": "0 * * * *", "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *", "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *",
}  # fmt: skip
_DAYS = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_FIELDS = (("minute", 0, 59), ("hour", 0, 23), ("day of the month", 1, 31), ("month", 1, 12), ("day of the week", 0, 7))
_ITEM = re.compile(r"(?:(\*)|(\w+)(?:-(\w+))?)(?:/(\d+))?")


@dataclass(frozen=True)
class Scheduled:
    """What runs, and when.

    Attributes:
        command: the arguments, every path absolute.
        folder: the working directory.
        log: the file that takes what a run says.
        cron: five fields.
    """

    name: str
    command: tuple[str, ...]
    folder: Path
    log: Path
    cron: str


def scheduled(
    job: Path, cron: str = "@daily", *, out: Path | None = None, until: str | None = None, time_limit: str | None = None
) -> Scheduled:
    """A job that is to be run again and again.

    Raises:
        SpecError: the spec is wrong.
        UsageError: `cron`, `until` or `time_limit` is, or a path holds a line break.
    """
    fields = MACROS.get(cron.strip().lower(), cron).split()
    _values(fields, cron)
    deadlines.earliest(time_limit, until, datetime.now(UTC))
    spec = load.job(job, expand=recipes.expand)
    path = job.absolute()
    command = [*program(), "run", str(path)]
    if out is not None:
        command += ["--out", str(out.absolute())]
    elif spec.output.dir is None:
        command += ["--out", str(prepare.default_directory(spec).absolute())]
    command += [
        *(["--time-limit", time_limit] if time_limit else []),
        *(["--until", until] if until else []),
    ]
    command += ["--hooks"] if spec.hooks else []
    made = Scheduled(spec.name, tuple(command), spec.base, spec.base / f"{spec.name}.log", " ".join(fields))
    if any(not text.isprintable() for text in (*command, str(made.folder))):
        raise UsageError(f"{path}: its path, or that of the directory, holds a line break or a control character")
    return made


def program() -> list[str]:
    """How this sdbatch is called where no virtual environment is active."""
    beside = Path(sys.executable).parent / "sdbatch"
    return [str(beside)] if beside.is_file() else [sys.executable, "-c", "from sdbatch.cli.main import run; run()"]


def crontab(job: Scheduled) -> str:
    """Lines for `crontab -e`. A percent sign would end the command there."""
    line = f"cd {shlex.quote(str(job.folder))} && {shlex.join(job.command)} >> {shlex.quote(str(job.log))} 2>&1"
    return (
        f"# {job.name}: exit code 75 is no error: the time was up, or the run before is still at work.\n"
        f"{job.cron} {line.replace('%', chr(92) + '%')}\n"
    )


def systemd(job: Scheduled) -> dict[str, str]:
    """A service and a timer, by file name."""
    unit = re.sub(r"[^\w.-]", "-", f"sdbatch-{job.name}")
    moments = "\n".join(f"OnCalendar={moment}" for moment in calendar(job.cron))
    folder, log = (_percent(str(path)) for path in (job.folder, job.log))
    service = (
        f"[Unit]\nDescription=sdbatch run {_percent(job.name)}\n\n"
        f"[Service]\nType=oneshot\nWorkingDirectory={folder}\nExecStart={' '.join(map(_word, job.command))}\n"
        f"# The time was up, or the run before is still at work.\nSuccessExitStatus=75\nTimeoutStartSec=infinity\n"
        f"# Ctrl-C: the batch in hand is finished and saved.\nKillSignal=SIGINT\nTimeoutStopSec=10min\n"
        f"StandardOutput=append:{log}\nStandardError=append:{log}\n"
    )
    timer = (
        f"[Unit]\nDescription=When {_percent(unit)}.service runs\n\n"
        f"[Timer]\n{moments}\nPersistent=true\n\n[Install]\nWantedBy=timers.target\n"
    )
    return {f"{unit}.service": service, f"{unit}.timer": timer}


def calendar(cron: str) -> list[str]:
    """A cron expression as systemd's `OnCalendar=`: two where cron means either of a month's and a week's days.

    Raises:
        UsageError: it is no cron expression.
    """
    fields = cron.split()
    values = _values(fields, cron)
    minute, hour, day, month = (
        "*" if field == "*" else ",".join(f"{one:02d}" for one in found)
        for field, found in zip(fields[:4], values[:4], strict=True)
    )
    week = ",".join(_DAYS[one] for one in sorted({one % 7 for one in values[4]}))
    # crontab(5): where both are restricted, a day that fits either will do. `*/2` counts as not restricted.
    if fields[2].startswith("*") or fields[4].startswith("*"):
        days = [f"{week} *-{month}-{day}" if fields[4] != "*" else f"*-{month}-{day}"]
    else:
        days = [f"*-{month}-{day}", f"{week} *-{month}-*"]
    return [f"{one} {hour}:{minute}:00" for one in days]


def _values(fields: Sequence[str], cron: str) -> list[list[int]]:
    """The numbers that each field allows."""
    if len(fields) != len(_FIELDS):
        raise UsageError(
            f"--cron {cron!r}: five fields such as '0 1 * * *' (minute, hour, day of the month, month, day of the "
            f"week), or one of {', '.join(MACROS)}"
        )
    return [_allowed(field, *about, cron) for field, about in zip(fields, _FIELDS, strict=True)]


def _allowed(field: str, title: str, low: int, high: int, cron: str) -> list[int]:
    found: set[int] = set()
    for item in field.split(","):
        match = _ITEM.fullmatch(item)
        every, first, last, step = match.groups() if match else (None, None, None, None)
        begin = low if every else _number(first, title)
        end = high if every or (step and not last) else _number(last or first, title)
        if begin is None or end is None or not low <= begin <= end <= high or step == "0":
            raise UsageError(f"--cron {cron!r}: {item!r} is no {title}: {low} to {high}, *, ranges, lists and steps")
        found.update(range(begin, end + 1, int(step or 1)))
    return sorted(found)


def _number(text: str | None, title: str) -> int | None:
    names = {"month": (_MONTHS, 1), "day of the week": (_DAYS, 0)}.get(title)
    if text is None:
        return None
    if names and text.capitalize() in names[0]:
        return names[0].index(text.capitalize()) + names[1]
    return int(text) if text.isascii() and text.isdigit() else None


def _percent(text: str) -> str:
    return text.replace("%", "%%")


def _word(text: str) -> str:
    """An argument as systemd.service(5) quotes it."""
    quoted = _percent(text).replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$")
    return quoted if re.fullmatch(r"[\w./:=@%+,~-]+", quoted) else f'"{quoted}"'
