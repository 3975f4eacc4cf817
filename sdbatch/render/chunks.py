"""Prompts → chunks of tokens, each as long as a text encoder takes, with a weight for every token.

A chunk has 75 tokens between its own begin and end, for the usual encoders. The rules for where one ends are those of
AUTOMATIC1111's web UI: `BREAK` ends it; the tokens of an embedding of several vectors stay together; and where a chunk
is full and the last comma lies within 20 tokens, what follows the comma goes into the next.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from sdbatch.prompts import emphasis

BACK = 20
"""How many tokens before the end of a chunk a comma may lie for the chunk to end there."""
COMMA = ",</w>"
"""How CLIP's vocabularies spell a comma at the end of a word."""
PLAIN = "plain"


@dataclass(frozen=True)
class Chunk:
    """Tokens and weights of one call of a text encoder.

    Attributes:
        ids: begin, tokens, end, and as much padding as makes up the length.
        weights: one each; 1 for those that are no tokens of the prompt.
        real: how many of the ids are not padding.
    """

    ids: tuple[int, ...]
    weights: tuple[float, ...]
    real: int


class Cutter:
    """Cuts texts for one tokenizer as it is now, with the words that it was taught.

    Args:
        length: how many tokens the text encoder takes, begin and end included: 77.
    """

    def __init__(self, tokenizer: Any, length: int) -> None:
        self._tokenizer, self._room = tokenizer, length - 2
        comma = tokenizer.convert_tokens_to_ids(COMMA)
        self._comma = None if comma == tokenizer.unk_token_id else comma
        self._words = _words(tokenizer)

    def cut(self, text: str, syntax: str) -> list[Chunk]:
        """A text's chunks, at least one.

        Args:
            syntax: `plain` is read without emphasis and `BREAK`.
        """
        plain = syntax == PLAIN
        sections = ((emphasis.Piece(text, 1.0),),) if plain else emphasis.parse(text)
        filling = _Filling(self._room, self._comma)
        for at, section in enumerate(sections):
            if at:
                filling.end()
            for piece in section:
                for group in self._groups(piece.text):
                    filling.add(group, piece.weight)
        if filling.ids or not filling.ended:
            filling.end()
        return [self._chunk(ids, weights) for ids, weights in filling.ended]

    def _groups(self, text: str) -> Iterator[tuple[int, ...]]:
        """Tokens; those of a word of several vectors together.

        diffusers replaces such a word in the text (`maybe_convert_prompt`); replacing its token instead comes to the
        same, but cannot hit a part of another word.
        """
        sound = text.encode("utf-8", "replace").decode()  # half of a surrogate pair is no text to a tokenizer
        for token in self._tokenizer(sound, add_special_tokens=False, verbose=False).input_ids:
            yield self._words.get(token, (token,))

    def _chunk(self, ids: list[int], weights: list[float]) -> Chunk:
        tokenizer, padding = self._tokenizer, self._room - len(ids)
        pad = tokenizer.pad_token_id
        return Chunk(
            (tokenizer.bos_token_id, *ids, tokenizer.eos_token_id, *[pad] * padding),
            (1.0, *weights, 1.0, *[1.0] * padding),
            len(ids) + 2,
        )


@dataclass
class _Filling:
    """The chunk being filled, and those before."""

    room: int
    comma: int | None
    ids: list[int] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    ended: list[tuple[list[int], list[float]]] = field(default_factory=list)
    _after_comma: int = 0  # where what follows the last comma begins; 0 where there is none

    def add(self, group: tuple[int, ...], weight: float) -> None:
        if group == (self.comma,):
            self._fit(1)
            self._after_comma = len(self.ids) + 1
        else:
            if len(self.ids) == self.room:
                self._go_back()
            self._fit(len(group))
        for token in group:
            self._fit(1)
            self.ids.append(token)
            self.weights.append(weight)

    def end(self) -> None:
        """Begin the next chunk."""
        self.ended.append((self.ids, self.weights))
        self.ids, self.weights, self._after_comma = [], [], 0

    def _fit(self, count: int) -> None:
        if len(self.ids) + count > self.room and self.ids:
            self.end()

    def _go_back(self) -> None:
        """Take what follows a comma near the end of a full chunk into the next one."""
        # Counted with the comma itself, as AUTOMATIC1111 does.
        at = self._after_comma
        if at and self.room - (at - 1) <= BACK:
            ids, weights = self.ids[at:], self.weights[at:]
            del self.ids[at:], self.weights[at:]
            self.end()
            self.ids, self.weights = ids, weights


def _words(tokenizer: Any) -> dict[int, tuple[int, ...]]:
    """The token of each word of several vectors → the tokens of all: `word`, `word_1`, `word_2` …"""
    added = tokenizer.added_tokens_encoder
    found = {}
    for word, token in added.items():
        tokens = [token]
        while (more := f"{word}_{len(tokens)}") in added:
            tokens.append(added[more])
        if len(tokens) > 1:
            found[token] = tuple(tokens)
    return found
