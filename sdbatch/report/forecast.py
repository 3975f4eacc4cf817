"""How long what is left will take, by what each kind of rows was seen to take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence


class Forecast:
    """Counts rows and their seconds, kind by kind.

    A kind of which nothing was made yet counts as the mean of the others. What passes beside rendering, and that
    several workers share the work, is in the ratio of the time that has passed to the seconds of all that was made.
    """

    def __init__(self) -> None:
        self._left: Counter[int] = Counter()
        self._made: Counter[int] = Counter()
        self._seconds: dict[int, float] = {}

    def begin(self, kinds: Sequence[int]) -> None:
        """Rows to make, of each kind."""
        self._left, self._made, self._seconds = Counter(dict(enumerate(kinds))), Counter(), {}

    def heard(self, kind: int, settled: int, made: int, seconds: float) -> None:
        """Rows of a kind that are settled, and of those made the seconds that they took in all."""
        self._left[kind] = max(0, self._left[kind] - settled)
        self._made[kind] += made
        self._seconds[kind] = self._seconds.get(kind, 0.0) + seconds

    def seconds_left(self, passed: float) -> float | None:
        """Seconds to go, after so many have passed; None before anything is made."""
        made, busy = sum(self._made.values()), sum(self._seconds.values())
        if not made or busy <= 0:
            return None
        each = {kind: self._seconds[kind] / count for kind, count in self._made.items() if count}
        ahead = sum(rows * each.get(kind, busy / made) for kind, rows in self._left.items())
        return ahead * passed / busy
