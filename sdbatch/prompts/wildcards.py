"""Variants and wildcards of prompts: one picked by a seed, or all of them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from random import Random

from sdbatch.prompts import reading
from sdbatch.prompts.files import Files
from sdbatch.prompts.tree import LIMIT, Node, Option, Text

KEPT = 4096
CHARACTERS = 2**26
"""Most characters of all that `all` makes of one text."""
DEPTH = 32
"""How many wildcards may lead to one another."""


class Variants:
    """`{a|b}`, `{0.5::a|b}`, `{2$$a|b|c}`, `{1-2$$ and $$a|b}`, `__name__`, `__dir/glob*__`, nested as you like.

    Fields (`{color}`) and doubled braces stay as they are, to be filled in later. The values of wildcards may hold
    variants and wildcards of their own, but no fields: what looks like one is escaped.

    Args:
        folder: of the wildcard files, in UTF-8; None where there is none.
    """

    def __init__(self, folder: Path | None) -> None:
        self._files = Files(folder)
        self._read: OrderedDict[str, Node] = OrderedDict()
        self._options: dict[str, list[Option]] = {}
        self._reading: list[str] = []

    def pick(self, text: str, seed: int) -> str:
        """The text with one of each of its variants, which follow from the text and the seed alone.

        The draws are those of Python's `Random(n)`, n being the 8 bytes of blake2b over seed, newline and text, in
        UTF-8, most significant first; see docs/prompts.md.

        Raises:
            ValueError: the syntax is wrong, or a wildcard has no file or values.
        """
        if not reading.varied(text):
            return text
        key = f"{seed}\n{text}".encode("utf-8", "surrogatepass")
        return self._node(text).pick(Random(int.from_bytes(blake2b(key, digest_size=8).digest(), "big")))

    def all(self, text: str) -> list[str]:
        """Every text that `pick` may make, whatever the weights: the last variant fastest, none twice.

        Of `{2$$…}` every order counts, and none in which two options made the same text.

        Raises:
            ValueError: as `pick`; or there are more than 100,000, or they are longer than CHARACTERS together.
        """
        if not reading.varied(text):
            return [text]
        node = self._node(text)
        if node.count() > LIMIT:
            raise ValueError(f"{text!r} makes more than {LIMIT:,} texts")
        found: dict[str, None] = {}
        room = CHARACTERS
        for made in node.all():
            room -= len(made)
            if room < 0:
                raise ValueError(f"the texts that it makes have more than {CHARACTERS:,} characters together")
            found.setdefault(made)
        return list(found)

    def _node(self, text: str) -> Node:
        if text not in self._read:
            self._read[text] = reading.read(text, self._lines)
            if len(self._read) > KEPT:
                self._read.popitem(last=False)
        self._read.move_to_end(text)
        return self._read[text]

    def _lines(self, pattern: str) -> Sequence[Option]:
        """The options that a wildcard, or all that match a pattern, have."""
        names = self._files.match(pattern)
        if len(names) == 1:
            return self._named(names[0])
        found: dict[str, Option] = {}
        for name in names:
            for line, option in zip(self._files.lines(name), self._named(name), strict=True):
                found.setdefault(line.text, option)
        return list(found.values())

    def _named(self, name: str) -> list[Option]:
        if name in self._reading:
            ring = " → ".join([*self._reading[self._reading.index(name) :], name])
            raise ValueError(f"wildcards name each other in a ring: {ring}")
        if name not in self._options:
            if len(self._reading) >= DEPTH:
                raise ValueError(f"more than {DEPTH} wildcards lead to one another")
            self._reading.append(name)
            try:
                self._options[name] = [Option(self._value(line.text), line.weight) for line in self._files.lines(name)]
            except ValueError as error:
                raise ValueError(f"wildcard {name!r}: {error}") from error
            finally:
                self._reading.pop()
        return self._options[name]

    def _value(self, text: str) -> Node:
        return reading.read(text, self._lines, data=True) if reading.varied(text, data=True) else Text(text)
