"""Emphasis in prompts, as AUTOMATIC1111's web UI reads it.

    (x)        weighs 1.1
    [x]        weighs 1 / 1.1
    (x:1.3)    weighs 1.3
    \\( \\) \\[ \\] \\\\   are characters
    BREAK      ends a chunk of 75 tokens

Nested weights multiply. A bracket that is not closed runs to the end of the prompt, one that was never opened is a
character. Round and square brackets do not see each other: in `(a [b) c]` `b` has both weights. A backslash before
anything else is dropped. `BREAK` is a word in capitals with no letter, digit or `_` beside it; spaces around it go with
it. In brackets it breaks too, where AUTOMATIC1111 would write it out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

ROUND = 1.1
SQUARE = 1 / 1.1


class Piece(NamedTuple):
    """A run of text of one weight."""

    text: str
    weight: float


class _Token(NamedTuple):
    """What the grammar finds. `text` is what remains in the prompt where a bracket turns out to be a character."""

    kind: str
    text: str
    weight: float = 1.0


def parse(text: str) -> tuple[tuple[Piece, ...], ...]:
    """Sections between `BREAK`s, at least one; each of pieces in order, neighbours of other weights.

    A text without any markers is one section of one piece of weight 1. A section may have no pieces, except where it is
    the only one: that has at least one, be it empty. Every text has a meaning; the time is linear in its length, but
    for brackets that are nested thousands deep.
    """
    folded = _Folded()
    for token in _tokens(text):
        folded.add(token)
    sections = [tuple(_merged(section)) for section in folded.sections()]
    return tuple(sections) if len(sections) > 1 or sections[0] else ((Piece("", 1.0),),)


def _tokens(text: str) -> Iterator[_Token]:
    """The grammar's tokens. Of one kind after another without nesting, so that nothing recurses."""
    if not any(marker in text for marker in "()[]\\") and "BREAK" not in text:
        yield _Token("text", text)
        return
    yield from _grammar().parse_string(text, parse_all=True)


@cache
def _grammar() -> Any:
    """prompt = { escape | "(" | "[" | weight | ")" | "]" | word | break | text | ":" }"""
    import pyparsing as pp

    def token(pattern: str, kind: str, start: int = 0, number: bool = False) -> Any:
        def make(found: Any) -> _Token:
            return _Token(kind, found[0][start:], float(found["number"]) if number else 1.0)

        return pp.Regex(pattern).leave_whitespace().add_parse_action(make)

    escape = token(r"\\[()\[\]\\]?", "text", start=1)
    weight = token(r":\s*(?P<number>[+-]?(?:\d+\.?\d*|\.\d+))\s*\)", "weight", number=True)
    brackets = [token("\\" + bracket, bracket) for bracket in "()[]"]
    # `BREAK` between spaces is told from `BREAKFAST` by the characters on both sides of it.
    broken = token(r"(?<!\w)BREAK(?!\w)", "break")
    words = token(r"(?:(?!(?<!\w)BREAK(?!\w))[^\\()\[\]:])+", "text")
    anything = pp.MatchFirst([escape, weight, *brackets, broken, words, token(":", "text")])
    return pp.ZeroOrMore(anything).parse_with_tabs()


@dataclass
class _Folded:
    """Tokens in order, with the weights that brackets gave them so far."""

    _texts: list[str | None] = field(default_factory=list)
    _spans: list[tuple[int, int, float]] = field(default_factory=list)
    _open: dict[str, list[int]] = field(default_factory=lambda: {"(": [], "[": []})

    def add(self, token: _Token) -> None:
        if token.kind in self._open:
            self._open[token.kind].append(len(self._texts))
        elif token.kind == "weight" and self._open["("]:
            self._close("(", token.weight)
        elif token.kind == ")" and self._open["("]:
            self._close("(", ROUND)
        elif token.kind == "]" and self._open["["]:
            self._close("[", SQUARE)
        else:
            self._texts.append(None if token.kind == "break" else token.text)

    def _close(self, bracket: str, weight: float) -> None:
        self._spans.append((self._open[bracket].pop(), len(self._texts), weight))

    def sections(self) -> list[list[Piece]]:
        """What was added, weighted, with brackets still open run to the end."""
        end = len(self._texts)
        left = [(start, end, ROUND) for start in self._open["("]] + [(start, end, SQUARE) for start in self._open["["]]
        weights: NDArray[np.float64] = np.ones(end)
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            for start, stop, weight in [*self._spans, *left]:
                weights[start:stop] *= weight  # one bracket after another, so that the bits are AUTOMATIC1111's
        sections: list[list[Piece]] = [[]]
        for text, weight in zip(self._texts, weights.tolist(), strict=True):
            if text is None:
                sections.append([])
            else:
                sections[-1].append(Piece(text, weight))
        return _trimmed(sections)


def _trimmed(sections: list[list[Piece]]) -> list[list[Piece]]:
    """Without the spaces on both sides of a `BREAK`."""
    for before, after in zip(sections, sections[1:], strict=False):
        if before:
            before[-1] = Piece(before[-1].text.rstrip(), before[-1].weight)
        if after:
            after[0] = Piece(after[0].text.lstrip(), after[0].weight)
    return sections


def _merged(pieces: list[Piece]) -> Iterator[Piece]:
    """Neighbours of one weight as one piece; empty ones, which hold none together, left out."""
    run: list[str] = []
    weight = 1.0
    for piece in pieces:
        if run and piece.weight != weight:
            if text := "".join(run):
                yield Piece(text, weight)
            run = []
        run.append(piece.text)
        weight = piece.weight
    if text := "".join(run):
        yield Piece(text, weight)
