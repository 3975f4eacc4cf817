"""How long what is left will take, by what each kind of rows was seen to take."""

from __future__ import annotations

import statistics
from collections import Counter, deque
from collections.abc import Sequence

RECENT = 256
"""Rows of a kind whose times are kept."""


class Forecast:
    """Counts rows and their seconds, kind by kind.

    A row of a kind takes the lower median of those made lately: the first batch loads the model as well. A kind of
    which nothing was made yet counts as the mean of the others. What passes beside rendering, and that several workers
    share the work, is in the ratio of the time that has passed to the seconds of all that was made; but not what came
    before the first batch, which does not come again.
    """

    def __init__(self) -> None:
        self._left: Counter[int] = Counter()
        self._made: Counter[int] = Counter()
        self._recent: dict[int, deque[float]] = {}
        self._first: tuple[int, int, float] | None = None

    def begin(self, kinds: Sequence[int]) -> None:
        """Rows to make, of each kind."""
        self._left, self._made, self._recent = Counter(dict(enumerate(kinds))), Counter(), {}
        self._first = None

    @property
    def lost(self) -> float:
        """Seconds before the first batch, and of loading the model in it, as far as is known."""
        if self._first is None:
            return 0.0
        kind, made, passed = self._first
        return max(0.0, passed - made * self._each()[kind])

    def heard(self, kind: int, settled: int, seconds: Sequence[float], passed: float) -> None:
        """Rows of a kind that are settled, and the seconds of each of those that were made, after so many in all."""
        self._left[kind] = max(0, self._left[kind] - settled)
        self._made[kind] += len(seconds)
        self._recent.setdefault(kind, deque(maxlen=RECENT)).extend(seconds)
        if self._first is None and seconds:
            self._first = kind, len(seconds), passed

    def seconds_left(self, passed: float, in_hand: int = 0) -> float | None:
        """Seconds to go, after so many have passed; None before anything is made.

        Args:
            in_hand: rows that are made but not `heard` of yet.
        """
        each = self._each()
        busy, made = self._busy(each), sum(self._made.values())
        if not made or busy <= 0:
            return None
        mean = busy / made
        ahead = sum(rows * each.get(kind, mean) for kind, rows in self._left.items()) - in_hand * mean
        return max(ahead, 0.0) * max(passed - self.lost, 0.0) / (busy + in_hand * mean)

    def _each(self) -> dict[int, float]:
        """What a row of each kind takes."""
        return {kind: statistics.median_low(seconds) for kind, seconds in self._recent.items() if seconds}

    def _busy(self, each: dict[int, float]) -> float:
        return sum(self._made[kind] * seconds for kind, seconds in each.items())
