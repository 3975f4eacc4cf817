"""Texts with variants, in dynamicprompts' syntax → trees.

dynamicprompts' grammar reads the variants themselves. What it would take for something else is set aside first, each
as one character of a private plane: fields (`{color}`), doubled braces, signs that begin its comments and variables,
separators, the names of wildcards.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from sdbatch.prompts.tree import Choice, Node, Option, Parts, Text

DEPTH = 16
"""How deep variants may be nested."""
_FIRST, _LAST = 0x100000, 0x10FFFD
_OPEN_END = 10**9
_FIELD = r"\{[^\W\d]\w*(?:\.[^\W\d]\w*)?(?::[^{}|$:]*)?\}"
_TOKEN = re.compile(
    rf"""(?P<brace>\{{\{{)|(?P<field>{_FIELD})|(?P<variable>\$\{{\s*[\w-]+\s*\??=)|(?P<open>\{{)|(?P<close>\}})
    |(?P<name>__(?![_\s])(?:(?!__)[^{{}}|\n])+(?<!\s)__)|(?P<wild>__)|(?P<dollars>\$\$)
    |(?P<aside>[\#%/$\t\U{_FIRST:08x}-\U0010ffff])""",
    re.VERBOSE,
)
_FILLED = re.compile(_FIELD)
_HEAD = re.compile(r"\s*(?:(\d+)\s*(-)?\s*(\d+)?|(-)\s*(\d+))\s*\$\$(?:([^${}]*)\$\$)?", re.ASCII)
_NAME_OF_PARTS = re.compile(r"__[^\s|]*?\{[^\s]*?\}[^\s|{}]*?__")
_SAMPLERS = "~!@"

Lines = Callable[[str], Sequence[Option]]
"""Finds a wildcard's options by its name; raises ValueError."""


def varied(text: str, *, data: bool = False) -> bool:
    """Whether there is anything to read: more than fields, which in `data` count too."""
    if not data and "{" in text:
        text = _FILLED.sub("", text)
    return "{" in text or "__" in text


def read(text: str, lines: Lines, *, data: bool = False) -> Node:
    """Read a text.

    Args:
        data: the text is a value that was picked: what looks like a field of it is none, and is escaped.

    Raises:
        ValueError: a brace has no partner, a number does not fit, a wildcard is missing.
    """
    try:
        aside = _Aside(data)
        return _Tree(aside, lines).node(_parsed(aside.text(text)))
    except ValueError as error:
        raise ValueError(f"{_cut(text)}: {error}") from error


def _parsed(text: str) -> Any:
    import pyparsing

    try:
        return _grammar()(text)
    except (pyparsing.ParseBaseException, RecursionError) as error:
        raise ValueError("its variants cannot be read") from error


@cache
def _grammar() -> Any:
    """dynamicprompts' parser, made on its first text."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of pyparsing, about what dynamicprompts calls
        from dynamicprompts.parser.parse import parse

        parse("{a|b}")
    return parse


@dataclass
class _Aside:
    """A text with what dynamicprompts must not see set aside."""

    data: bool
    _kept: list[str] = field(default_factory=list)
    _levels: list[int] = field(default_factory=lambda: [0])  # doubled braces open, in each variant around

    def text(self, text: str) -> str:
        """The text for dynamicprompts."""
        made: list[str] = []
        at = 0
        while match := _TOKEN.search(text, at):
            made.append(text[at : match.start()])
            at, new = getattr(self, f"_{match.lastgroup}")(text, match)
            made.append(new)
        if len(self._levels) > 1:
            raise ValueError("a `{` is not closed; write {{ for a brace")
        return "".join([*made, text[at:]])

    def back(self, text: str) -> str:
        """Put back what was set aside."""
        return "".join(self._kept[ord(char) - _FIRST] if ord(char) >= _FIRST else char for char in text)

    def separator(self, number: str) -> str:
        """What stands for a separator → the separator."""
        return self._kept[int(number)]

    def _keep(self, text: str) -> str:
        self._kept.append(text)
        if len(self._kept) > _LAST - _FIRST:
            raise ValueError("the text is too long")
        return chr(_FIRST + len(self._kept) - 1)

    def _brace(self, text: str, match: re.Match[str]) -> tuple[int, str]:
        self._levels[-1] += 1
        return match.end(), self._keep("{{")

    def _field(self, text: str, match: re.Match[str]) -> tuple[int, str]:
        return match.end(), self._keep(f"{{{match[0]}}}" if self.data else match[0])

    def _variable(self, text: str, match: re.Match[str]) -> tuple[int, str]:
        raise ValueError(f"{match[0]!r}: variables are not supported; fields do the same")

    def _open(self, text: str, match: re.Match[str]) -> tuple[int, str]:
        self._levels.append(0)
        if len(self._levels) > DEPTH + 1:
            raise ValueError(f"variants are nested more than {DEPTH} deep")
        at = match.end()
        first = text[at:].lstrip()[:1]
        if first and first in _SAMPLERS:
            raise ValueError(f"`{{{first}` chooses a way of sampling, which is fixed here; put another option first")
        head = _HEAD.match(text, at)
        return (head.end(), self._head(head)) if head else (at, "{")

    def _head(self, head: re.Match[str]) -> str:
        """`{2$$`, `{1-2$$, $$` in dynamicprompts' own full form."""
        low = int(head[1]) if head[1] else 1
        high = int(head[3] or head[5] or 0) if head[3] or head[4] else _OPEN_END if head[2] else low
        if high < low:
            raise ValueError(f"{head[0].strip()!r}: {low} is more than {high}")
        separator = "," if head[6] is None else head[6]
        self._keep(separator)
        return f"{{{min(low, _OPEN_END)}-{min(high, _OPEN_END)}$${len(self._kept) - 1}$$"

    def _close(self, text: str, match: re.Match[str]) -> tuple[int, str]:
        if text.startswith("}}", match.start()) and (len(self._levels) == 1 or self._levels[-1]):
            self._levels[-1] = max(self._levels[-1] - 1, 0)
            return match.end() + 1, self._keep("}}")
        if len(self._levels) == 1:
            raise ValueError("a `}` closes nothing; write }} for a brace, and `{ {` for a variant that begins with one")
        self._levels.pop()
        return match.end(), "}"

    def _name(self, text: str, match: re.Match[str]) -> tuple[int, str]:
        return match.end(), f"__{self._keep(match[0][2:-2])}__"

    def _wild(self, text: str, match: re.Match[str]) -> tuple[int, str]:
        if name := _NAME_OF_PARTS.match(text, match.start()):
            raise ValueError(f"{name[0]}: a wildcard's name has no braces in it; write {{__one__|__other__}}")
        return match.end(), self._keep("__")

    def _dollars(self, text: str, match: re.Match[str]) -> tuple[int, str]:
        if len(self._levels) > 1:
            raise ValueError("`$$` follows the number of options, as in {2$$a|b|c}")
        return match.end(), self._keep("$$")

    def _aside(self, text: str, match: re.Match[str]) -> tuple[int, str]:
        return match.end(), self._keep(match[0])


@dataclass
class _Tree:
    """dynamicprompts' commands → nodes."""

    aside: _Aside
    lines: Lines

    def node(self, command: Any) -> Node:
        from dynamicprompts import commands

        if isinstance(command, commands.LiteralCommand):
            return Text(self.aside.back(command.literal))
        if isinstance(command, commands.SequenceCommand):
            return Parts(tuple(self.node(token) for token in command.tokens))
        if isinstance(command, commands.WildcardCommand):
            return Choice(self._named(command))
        return self._choice(command)

    def _named(self, command: Any) -> Sequence[Option]:
        return self.lines(self.aside.back(command.wildcard))

    def _choice(self, command: Any) -> Node:
        from dynamicprompts.commands import WildcardCommand

        for variant in command.variants:
            if not math.isfinite(variant.weight):
                raise ValueError(f"{variant.weight} is no weight")
        values = [variant.value for variant in command.variants]
        counted = command.min_bound, command.max_bound
        if len(values) == 1 and isinstance(values[0], WildcardCommand):
            options = self._named(values[0])  # {2$$__name__}: two of its lines
        else:
            options = [Option(self.node(v.value), v.weight) for v in command.variants if v.weight > 0]
        if not options:
            raise ValueError("every option has the weight 0")
        if counted == (1, 1) and command.separator == ",":
            return Choice(options)
        low, high = counted[0], len(options) if counted[1] == _OPEN_END else counted[1]
        if max(low, high) > len(options):
            raise ValueError(f"{max(low, high)} options of {len(options)} cannot be picked")
        return Choice(options, low, high, self.aside.separator(command.separator))


def _cut(text: str) -> str:
    shown = repr(text)
    return shown if len(shown) <= 80 else shown[:77] + "..."
