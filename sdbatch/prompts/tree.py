"""A prompt with variants as a tree: what may be picked from it, and how.

The draws are a contract (docs/prompts.md): they use nothing but `Random.random()`, whose sequence Python fixes.
"""

from __future__ import annotations

import itertools
import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from random import Random
from typing import Protocol

LIMIT = 100_000
"""Most texts that `all` makes of one."""


class Node(Protocol):
    """A part of a prompt."""

    def pick(self, random: Random) -> str:
        """One of its texts."""

    def all(self) -> Iterator[str]:
        """Every text, in the order in which it is written; some may come twice."""

    def count(self) -> int:
        """How many texts `all` makes, counted up to LIMIT + 1."""


@dataclass(frozen=True)
class Text:
    """Always the same."""

    text: str

    def pick(self, random: Random) -> str:
        return self.text

    def all(self) -> Iterator[str]:
        yield self.text

    def count(self) -> int:
        return 1


@dataclass(frozen=True)
class Parts:
    """One part after another."""

    parts: Sequence[Node]

    def pick(self, random: Random) -> str:
        return "".join(part.pick(random) for part in self.parts)

    def all(self) -> Iterator[str]:
        return _products(self.parts, "")

    def count(self) -> int:
        found = 1
        for part in self.parts:
            found = min(found * part.count(), LIMIT + 1)
        return found


@dataclass(frozen=True)
class Option:
    """One way on, and how often it is picked against the others: above 0."""

    node: Node
    weight: float = 1.0


@dataclass(frozen=True)
class Choice:
    """From `low` to `high` of the options, each at most once, in the order in which they are picked."""

    options: Sequence[Option]
    low: int = 1
    high: int = 1
    separator: str = ","

    def pick(self, random: Random) -> str:
        """One draw for how many, where that is open; one for each option picked; then those that the options make."""
        count = self.low
        if self.high > self.low:
            count += int(random.random() * (self.high - self.low + 1))
        left, sums = self.options, self._sums
        chosen = []
        for more in range(count, 0, -1):
            at = min(bisect_right(sums, random.random() * sums[-1]), len(left) - 1)
            chosen.append(left[at])
            if more > 1:
                left = [*left[:at], *left[at + 1 :]]
                sums = _sums(left)
        return self.separator.join(option.node.pick(random) for option in chosen)

    @cached_property
    def _sums(self) -> list[float]:
        return _sums(self.options)

    def all(self) -> Iterator[str]:
        nodes = [option.node for option in self.options]
        for count in range(self.low, self.high + 1):
            for chosen in itertools.permutations(nodes, count):
                yield from _products(chosen, self.separator, distinct=True)

    def count(self) -> int:
        if self.high == 1 and self.low == 1:
            return min(sum(option.node.count() for option in self.options), LIMIT + 1)
        if math.factorial(min(self.high, 20)) > LIMIT:
            return LIMIT + 1
        # Of k options in every order: k! times the elementary symmetric polynomial of their counts.
        ways = [1] + [0] * self.high
        for option in self.options:
            made = option.node.count()
            for size in range(self.high, 0, -1):
                ways[size] = min(ways[size] + ways[size - 1] * made, LIMIT + 1)
        found = sum(ways[size] * math.factorial(size) for size in range(self.low, self.high + 1))
        return min(found, LIMIT + 1)


def _sums(options: Sequence[Option]) -> list[float]:
    return list(itertools.accumulate(option.weight for option in options))


def _products(nodes: Sequence[Node], separator: str, distinct: bool = False) -> Iterator[str]:
    """Every text of each node with every text of the others, the last fastest.

    Args:
        distinct: leave out those in which two nodes made the same text.
    """
    for texts in itertools.product(*(tuple(node.all()) for node in nodes)):
        if not distinct or len(set(texts)) == len(texts):
            yield separator.join(texts)
