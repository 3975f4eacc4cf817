"""When a run is to end: `--time-limit 2h`, `--until 06:00`."""

from __future__ import annotations

import re
from datetime import datetime, time, timedelta

from sdbatch.errors import UsageError

_PART = r"(\d+(?:\.\d+)?)({})"
_UNITS = {"d": 86_400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
_LENGTH = re.compile("".join(f"(?:{_PART.format(unit)})?" for unit in _UNITS))
_LONGEST = timedelta(days=3650)


def length(text: str) -> timedelta:
    """A length of time: `2h`, `90m`, `1h30m`, `1.5h`, `45s`, `2d`; a bare number is seconds.

    Raises:
        UsageError: it is none, or none at all.
    """
    given = text.strip().lower()
    match = _LENGTH.fullmatch(given + "s" if re.fullmatch(r"\d+(?:\.\d+)?", given) else given)
    seconds = sum(float(number) * _UNITS[unit] for number, unit in _pairs(match)) if match else 0.0
    if not 0 < seconds <= _LONGEST.total_seconds():
        raise UsageError(f"--time-limit {text!r}: give a length of time such as 2h, 90m, 1h30m or 45s")
    return timedelta(seconds=seconds)


def moment(text: str, now: datetime) -> datetime:
    """The next time that a clock on the wall shows this: `06:00`, `06:00:30`; or a whole `2026-11-27T06:00`.

    Args:
        now: with a time zone; one that `text` does not name is this machine's.

    Raises:
        UsageError: it is no time, or a day that is past.
    """
    given = text.strip()
    try:
        if not re.fullmatch(r"\d{1,2}:\d{2}(:\d{2})?", given):
            whole = datetime.fromisoformat(given).astimezone()
            if not re.search(r"\d[T ]\d", given) or whole <= now:
                raise ValueError
            return whole
        clock = time.fromisoformat(given.zfill(5) if given.count(":") == 1 else given.zfill(8))
    except (ValueError, OverflowError) as error:
        raise UsageError(f"--until {text!r}: give a time of day such as 06:00, or a moment to come") from error
    # Without a zone until the end: a day on which clocks are changed has its own length.
    today = now.astimezone().replace(tzinfo=None).date()
    days = (datetime.combine(today + timedelta(days=ahead), clock).astimezone() for ahead in (0, 1, 2))
    return next(day for day in days if day > now)


def earliest(time_limit: str | None, until: str | None, now: datetime) -> datetime | None:
    """When a run that begins now is to end; None where neither is given.

    Raises:
        UsageError: one of them says nothing that is understood.
    """
    ends = [] if time_limit is None else [now + length(time_limit)]
    if until is not None:
        ends.append(moment(until, now))
    return min(ends, default=None)


def _pairs(match: re.Match[str]) -> list[tuple[str, str]]:
    parts = match.groups()
    return [(number, unit) for number, unit in zip(parts[::2], parts[1::2], strict=True) if number is not None]
