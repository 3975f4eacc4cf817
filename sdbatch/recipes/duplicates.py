"""Near-duplicates among the pictures of one parent, by perceptual hash; which go follows from the pictures alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Made:
    """A picture of a parent.

    Attributes:
        order: which of its parent's pictures it is; the earlier one of two stays.
        phash: hexadecimal digits.
    """

    row: str
    parent: str
    order: tuple[int, str]
    phash: str


def near(made: Iterable[Made], bits: int) -> dict[str, tuple[str, int]]:
    """Rows whose hash differs in fewer than `bits` bits from that of an earlier picture of their parent that stays.

    Returns:
        row → (the row that stays, by how many bits they differ), in order.
    """
    kept: dict[str, list[Made]] = {}
    found: dict[str, tuple[str, int]] = {}
    for one in sorted(made, key=lambda one: (one.parent, one.order)):
        stay = kept.setdefault(one.parent, [])
        apart = [(_bits(one.phash, other.phash), other.row) for other in stay]
        least = min(apart, default=None)
        if least is not None and least[0] < bits:
            found[one.row] = least[1], least[0]
        else:
            stay.append(one)
    return found


def of_line(line: dict[str, Any], phash: str) -> Made:
    """A line of the manifest with `row`, `parent_id` and `field_variation`."""
    number = line.get("field_variation")
    return Made(line["row"], line["parent_id"], (int(number) if number else 0, line["row"]), phash)


def _bits(one: str, other: str) -> int:
    return (int(one, 16) ^ int(other, 16)).bit_count()
