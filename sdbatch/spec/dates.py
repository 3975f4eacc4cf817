"""The day on which a job is read, for jobs that are made anew each day."""

from __future__ import annotations

from datetime import date


def today() -> date:
    """By this machine's clock and time zone."""
    return date.today()


def number() -> int:
    """Today as a number, such as 20261126: a seed for all of a day's rows."""
    return int(f"{today():%Y%m%d}")
