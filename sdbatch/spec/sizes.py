"""How many values axes make, told from what is written, before any of them is made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sdbatch.parameters import PARAMETERS
from sdbatch.spec.problems import Problems
from sdbatch.spec.schema import FORMS, ROWS_MAX

VALUES_MAX = 10_000_000
"""Most values of all axes together that are kept in memory: those of ranges are not."""
FEW = 100_000


def check(data: Mapping[str, Any], problems: Problems) -> bool:
    """Note a spec whose axes make too many rows, or values; forms that cannot be counted yet count as one.

    Returns:
        whether the axes may be made.
    """
    grid, zipped = (data[name] if isinstance(data.get(name), dict) else {} for name in ("grid", "zip"))
    top = {name: raw for name, raw in data.items() if name in PARAMETERS and isinstance(raw, dict)}
    rows = max((count(raw) for raw in zipped.values()), default=1)
    for raw in (*top.values(), *grid.values()):
        rows *= max(count(raw), 1)
    kept = sum(count(raw) for axes in (top, grid, zipped) for name, raw in axes.items() if not _lazy(name, raw))
    if rows > ROWS_MAX:
        problems.add(("grid",) if grid else (next(iter(top), "zip"),), f"makes {rows:,} rows; at most {ROWS_MAX:,}")
        return kept <= FEW  # what else is wrong is said too
    if kept > VALUES_MAX:
        problems.add(("zip",), f"all axes together list {kept:,} values; at most {VALUES_MAX:,}, those of ranges aside")
        return False
    return True


def count(raw: Any) -> int:
    """The values of an axis as written; 1 where only making them tells, or where it is wrong."""
    if isinstance(raw, list):
        return len(raw)
    if not isinstance(raw, dict) or len(raw) != 1 or raw.keys().isdisjoint(FORMS):
        return 1
    ((form, given),) = raw.items()
    if form == "random":
        return given if _whole(given) else 1
    if form not in ("range", "linspace") or not isinstance(given, list):
        return 1
    if form == "linspace":
        return given[2] if len(given) == 3 and _whole(given[2]) else 1
    sound = len(given) in (2, 3) and all(isinstance(number, int) for number in given) and 0 not in given[2:]
    return _length(range(*given)) if sound else 1


def _length(values: range) -> int:
    """As len, which ends at 2**63."""
    return max(0, (values[-1] - values[0]) // values.step + 1) if values else 0


def _whole(given: Any) -> bool:
    return isinstance(given, int) and not isinstance(given, bool) and given > 0


def _lazy(name: str, raw: Any) -> bool:
    """Whether an axis stays a range; one of floats does not."""
    return isinstance(raw, dict) and "range" in raw and not (name in PARAMETERS and PARAMETERS[name].kind == "float")
