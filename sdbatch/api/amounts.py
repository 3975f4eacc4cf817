"""Amounts as the command line has them: a number, or a share."""

from __future__ import annotations

from sdbatch.errors import UsageError


def of(option: str, text: str, rows: int) -> float:
    """`10` is 10, `5%` is that share of `rows`.

    Raises:
        UsageError: it is neither.
    """
    given = text.strip()
    try:
        return float(given[:-1]) / 100 * rows if given.endswith("%") else float(int(given))
    except ValueError as error:
        raise UsageError(f"{option} {text!r}: give a number such as 10, or a share such as 5%") from error
