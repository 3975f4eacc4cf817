"""What became of a data set: pictures a class, how like their parents they are, what was dropped and why."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

BINS = 20
LOST_SHOWN = 50
"""Rows that are listed one by one; the others are counted."""
_BAR = 30


@dataclass(frozen=True)
class Histogram:
    """Values of a score, in BINS bins of one width from `low` to `high`.

    Attributes:
        counts: BINS of them.
    """

    low: float
    high: float
    mean: float
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Lost:
    """A row that has no picture."""

    row: str
    label: str
    split: str
    error: str
    message: str

    @property
    def reason(self) -> str:
        """Why, without what is this row's own."""
        return f"{self.error}: {self.message.partition(':')[0].strip()}"


@dataclass(frozen=True)
class Summary:
    """What became of a data set.

    Attributes:
        classes: pictures made, by split and class.
        asked: rows, by split and class.
        attempts: rows by how often they were made; empty without a guard.
        scores: of the pictures that stay.
        lost: rows dropped or failed, in order of their keys.
    """

    name: str
    label: str
    classes: Mapping[str, Mapping[str, int]]
    asked: Mapping[str, Mapping[str, int]]
    attempts: Mapping[int, int]
    scores: Mapping[str, Histogram]
    lost: Sequence[Lost] = field(default_factory=tuple)

    @property
    def made(self) -> int:
        """Pictures in all."""
        return sum(count for of in self.classes.values() for count in of.values())

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        reasons = Counter(one.reason for one in self.lost)
        return {
            "schema": 1,
            "name": self.name,
            "label": self.label,
            "made": self.made,
            "lost": len(self.lost),
            "classes": self.classes,
            "asked": self.asked,
            "attempts": {str(number): count for number, count in self.attempts.items()},
            "scores": {name: {**vars(one), "counts": list(one.counts)} for name, one in self.scores.items()},
            "reasons": dict(sorted(reasons.items())),
        }


def summary(
    name: str, label: str, made: pa.Table, asked: Mapping[tuple[str, str], int], lost: Sequence[Lost]
) -> Summary:
    """Count.

    Args:
        label: the column of the class, without `field_`.
        made: lines of the manifest with `scores`, `attempts` and, where there are any, `field_split` and the class.
        asked: rows by split and class.
    """
    counts: Counter[tuple[str, str]] = Counter(zip(*(_texts(made, one) for one in ("split", label)), strict=True))
    tries = Counter(number for number in made.column("attempts").to_pylist() if number is not None)
    return Summary(
        name=name,
        label=label,
        classes=_nested(counts),
        asked=_nested(asked),
        attempts=dict(sorted(tries.items())),
        scores=_histograms(made.column("scores").to_pylist()),
        lost=tuple(sorted(lost, key=lambda one: one.row)),
    )


def _texts(table: pa.Table, column: str) -> list[str]:
    name = f"field_{column}"
    if name not in table.column_names:
        return [""] * table.num_rows
    return [value or "" for value in table.column(name).to_pylist()]


def _nested(counts: Mapping[tuple[str, str], int]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for (split, label), count in sorted(counts.items()):
        found.setdefault(split, {})[label] = count
    return found


def _histograms(texts: Sequence[str | None]) -> dict[str, Histogram]:
    values: dict[str, list[float]] = {}
    for text in texts:
        for name, value in json.loads(text or "{}").items():
            if isinstance(value, (int, float)):
                values.setdefault(name, []).append(float(value))
    return {name: _histogram(every) for name, every in sorted(values.items())}


def _histogram(values: Sequence[float]) -> Histogram:
    low, high = min(0.0, *values), max(1.0, *values)
    counts, _ = np.histogram(values, BINS, (low, high))
    return Histogram(low, high, round(float(np.mean(values)), 6), tuple(int(count) for count in counts))


def markdown(found: Summary, samples: str | None) -> str:
    """The report for people.

    Args:
        samples: the sheet's file, beside the report; None for none.
    """
    parts = [f"# {found.name}\n", f"{found.made:,} pictures; {len(found.lost):,} rows have none.\n"]
    if samples:
        parts.append(f"![Parents, each with its variations]({samples})\n")
    rows = [
        (split or "-", label or "-", f"{found.classes.get(split, {}).get(label, 0):,}", f"{count:,}")
        for split, labels in found.asked.items()
        for label, count in labels.items()
    ]
    parts.append(f"## Pictures a class\n\n{table(('split', found.label, 'made', 'asked for'), rows)}\n")
    for name, one in found.scores.items():
        parts.append(f"## {name}\n\nMean {one.mean:.4g}.\n\n{_bars(one)}\n")
    if found.attempts:
        tries = [(str(number), f"{count:,}") for number, count in found.attempts.items()]
        parts.append(f"## Attempts\n\n{table(('made so often', 'pictures'), tries)}\n")
    if found.lost:
        parts.append(_lost(found.lost))
    return "\n".join(parts)


def _bars(one: Histogram) -> str:
    most, width = max(one.counts), (one.high - one.low) / BINS
    seen = [at for at, count in enumerate(one.counts) if count]
    rows = []
    for at in range(seen[0], seen[-1] + 1):
        low, count = one.low + at * width, one.counts[at]
        rows.append((f"{low:.3g}", f"{low + width:.3g}", f"{count:,}", "█" * (count * _BAR // most)))
    return table(("from", "to", "pictures", ""), rows)


def _lost(lost: Sequence[Lost]) -> str:
    reasons = Counter(one.reason for one in lost).most_common()
    classes = Counter((one.split or "-", one.label or "-") for one in lost)
    parts = [
        "## Without a picture\n",
        table(("why", "rows"), [(why, f"{count:,}") for why, count in reasons]),
        "",
        table(("split", "class", "rows"), [(*of, f"{count:,}") for of, count in sorted(classes.items())]),
        "",
        table(
            ("row", "class", "said"),
            [(one.row, one.label or "-", f"{one.error}: {one.message}") for one in lost[:LOST_SHOWN]],
        ),
    ]
    if len(lost) > LOST_SHOWN:
        parts.append(f"\nand {len(lost) - LOST_SHOWN:,} more, in `failures/`.")
    return "\n".join(parts) + "\n"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *([_cell(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split())[:300].replace("|", "\\|")
