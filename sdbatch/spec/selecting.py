"""Which records a later stage takes: the best of each group, and none that looks like another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sdbatch.spec.problems import near
from sdbatch.spec.schema import Top

HASH = "phash"
"""The score that holds a picture's perceptual hash, in hexadecimal digits."""


def read(record: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """The values of a record that are asked for.

    Raises:
        ValueError: it has none of this name.
    """
    for name in names:
        if name not in record:
            raise ValueError(f"records have no {name!r}{near(name, record)}")
    return {name: record[name] for name in names}


def top(
    records: Sequence[Mapping[str, Any] | None], pending: Sequence[bool], keys: Sequence[str], wanted: Top
) -> list[bool | None]:
    """Whether each record is among the best of its group.

    Args:
        records: None where there is none, or it is left out already.
        pending: where there is none yet, but will be.
        keys: row keys, which decide where records are alike.

    Returns:
        True, False, or None where it is not known yet. As long as any record is pending nothing is known, for there is
        no telling which group it will be of.

    Raises:
        ValueError: records have no such name.
    """
    if any(pending):
        return [None] * len(records)
    groups: dict[tuple[str, ...], list[int]] = {}
    for at, record in enumerate(records):
        if record is not None:
            values = read(record, (*wanted.per, wanted.by, *([HASH] if wanted.distinct else [])))
            groups.setdefault(tuple(repr(values[name]) for name in wanted.per), []).append(at)
    chosen: list[bool | None] = [False] * len(records)
    for members in groups.values():
        for at in _best(members, records, keys, wanted):
            chosen[at] = True
    return chosen


def _best(
    members: Sequence[int], records: Sequence[Mapping[str, Any] | None], keys: Sequence[str], wanted: Top
) -> list[int]:
    def order(at: int) -> tuple[bool, float, str]:
        record = records[at]
        assert record is not None
        value = record[wanted.by]
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
            raise ValueError(f"top: by {wanted.by!r}: {value!r} is not a number")
        return value is None, -float(value or 0.0), keys[at]

    taken: list[int] = []
    for at in sorted(members, key=order):
        if len(taken) == wanted.n:
            break
        if not wanted.distinct or all(_apart(records[at], records[other]) >= wanted.distinct for other in taken):
            taken.append(at)
    return taken


def _apart(one: Mapping[str, Any] | None, other: Mapping[str, Any] | None) -> int:
    """Bits in which two perceptual hashes differ."""
    assert one is not None and other is not None
    return (int(str(one[HASH]), 16) ^ int(str(other[HASH]), 16)).bit_count()
