"""YAML text → plain Python values and the line of every key, within bounds.

Scalars are read by YAML 1.2's core schema, so `1e-3` is a number and `on`, `no` and `2024-01-01`
are texts. The text is read as a stream of events, so neither deep nesting nor aliases of aliases
can exhaust memory before they are refused. Python's YAML parser reads 1.1 syntax, of which 1.2's
differences in syntax (not in scalars) do not matter to a spec.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from sdbatch.errors import Problem, SpecError
from sdbatch.spec.problems import Key, dotted, show

DEPTH_MAX = 50
SIZE_MAX = 16 * 2**20
"""Most characters and nodes of a document with its aliases written out."""
INT_BITS = 64

_NULL = re.compile(r"(?:~|null|Null|NULL|)\Z")
_BOOL = re.compile(r"(?:true|True|TRUE|(false|False|FALSE))\Z")
_INT = re.compile(r"(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)\Z")
FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z")
_NOT_FINITE = re.compile(r"([-+]?)(?:\.(?:inf|Inf|INF)|(\.(?:nan|NaN|NAN)))\Z")
_STR = "tag:yaml.org,2002:str"
_COLLECTIONS = ("!", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Document:
    """A parsed text.

    Attributes:
        value: dicts, lists, str, int, float, bool and None.
        lines: 1-based line of each key or item; what stands under an alias has the alias's line.
        problems: mistakes that leave the rest readable: a repeated key, a tag, a number too long.
    """

    value: Any
    lines: Mapping[Key, int]
    problems: tuple[Problem, ...] = ()


def parse(text: str, shown: str | None) -> Document:
    """Parse one YAML document.

    Args:
        text: the YAML.
        shown: the file's path as the user gave it; None for the command line.

    Raises:
        SpecError: with the first error of syntax, or where the text is too deep or too large.
    """
    builder = _Builder(shown, text)
    return builder.document()


def plain(value: Any) -> str | None:
    """Say why a Python value cannot stand in a spec; None where it can."""
    return _Bounds().check(value, 1)


@dataclass
class _Bounds:
    size: int = 0

    def check(self, value: Any, depth: int) -> str | None:
        """Walk a value and count it."""
        self.size += 1 + (len(value) if isinstance(value, str) else 0)
        if depth > DEPTH_MAX:
            return f"is nested more than {DEPTH_MAX} deep"
        if self.size > SIZE_MAX:
            return "is too large"
        if isinstance(value, dict):
            if not all(isinstance(key, str) for key in value):
                return "every key must be a text"
            parts: list[Any] = [*value.keys(), *value.values()]
        elif isinstance(value, list):
            parts = value
        else:
            return _scalar_problem(value)
        return next((wrong for part in parts if (wrong := self.check(part, depth + 1))), None)


def _scalar_problem(value: Any) -> str | None:
    if isinstance(value, int) and value.bit_length() > INT_BITS:
        return f"a whole number of more than {INT_BITS} bits"
    if isinstance(value, str) and not _encodable(value):
        return "the text holds half a character (a lone surrogate)"
    if value is None or isinstance(value, (str, int, float)):
        return None
    return f"{show(value)} is not a text, number, true, false, null, list or mapping"


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class _Stop(Exception):
    """The text cannot be read on."""

    def __init__(self, line: int | None, key: Key, message: str) -> None:
        super().__init__(message)
        self.line, self.key, self.message = line, key, message


_COLON = "mapping values are not allowed in this context"
"""What YAML says of `prompt: a star: big`."""


@dataclass
class _Builder:
    shown: str | None
    text: str
    problems: list[Problem] = field(default_factory=list)
    lines: dict[Key, int] = field(default_factory=dict)
    anchors: dict[str, tuple[Any, int, int] | None] = field(default_factory=dict)  # value, size, depth
    size: int = 0

    def document(self) -> Document:
        try:
            value = self._read(iter(yaml.parse(self.text, Loader=_Loader)))
            return Document(value, self.lines, tuple(self.problems))
        except _Stop as stop:
            self._note(stop.line, stop.key, stop.message)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            what = " ".join(part for part in (error.context, error.problem) if part)
            hint = "; a text with ': ' in it needs quotes" if error.problem == _COLON else ""
            self._note(mark.line + 1 if mark else None, (), f"not YAML: {what}{hint}")
        except (yaml.YAMLError, UnicodeError) as error:
            line = self.text.count("\n", 0, getattr(error, "position", 0)) + 1
            self._note(line, (), f"not YAML: {getattr(error, 'reason', error)}")
        raise SpecError(self.problems)

    def _note(self, line: int | None, key: Key, message: str) -> None:
        if len(self.problems) < 100:
            self.problems.append(Problem(self.shown, line if self.shown else None, dotted(key), message))

    def _read(self, events: Iterator[Any]) -> Any:
        value = None
        documents = 0
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise _Stop(_line(event), (), "holds more than one YAML document")
                value = self._node(next(events), events, (), 1)[0]
        return value

    def _node(self, event: Any, events: Iterator[Any], key: Key, depth: int) -> tuple[Any, int]:
        """One value, and how deep it goes below itself."""
        line = _line(event)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(str(event.anchor), line, key, depth)
        if depth > DEPTH_MAX:
            raise _Stop(line, (), f"is nested more than {DEPTH_MAX} deep")
        before = self.size
        self._count(1, line)
        if event.anchor:
            self.anchors[event.anchor] = None  # not whole yet: an alias inside it would have no end
        value: Any
        if isinstance(event, yaml.ScalarEvent):
            value, below = self._scalar(event, key, line), 0
        elif isinstance(event, yaml.SequenceStartEvent):
            value, below = self._sequence(event, events, key, depth)
        else:
            value, below = self._mapping(event, events, key, depth)
        if event.anchor:
            self.anchors[event.anchor] = (value, self.size - before, below)
        return value, below

    def _alias(self, anchor: str, line: int, key: Key, depth: int) -> tuple[Any, int]:
        target = self.anchors.get(anchor)
        if target is None:
            raise _Stop(line, key, f"alias *{anchor} has no anchor before it, or stands inside its own")
        value, size, below = target
        if depth + below > DEPTH_MAX:
            raise _Stop(line, key, f"is nested more than {DEPTH_MAX} deep")
        self._count(size, line)
        return value, below

    def _count(self, size: int, line: int) -> None:
        self.size += size
        if self.size > SIZE_MAX:
            raise _Stop(line, (), "is too large with its aliases written out")

    def _sequence(self, start: Any, events: Iterator[Any], key: Key, depth: int) -> tuple[list[Any], int]:
        self._check_tag(start, key)
        items: list[Any] = []
        deepest = 0
        for event in events:
            if isinstance(event, yaml.SequenceEndEvent):
                break
            here = (*key, len(items))
            self.lines[here] = event.start_mark.line + 1
            value, below = self._node(event, events, here, depth + 1)
            items.append(value)
            deepest = max(deepest, below + 1)
        return items, deepest

    def _mapping(self, start: Any, events: Iterator[Any], key: Key, depth: int) -> tuple[dict[str, Any], int]:
        self._check_tag(start, key)
        found: dict[str, Any] = {}
        deepest = 0
        for event in events:
            if isinstance(event, yaml.MappingEndEvent):
                break
            line = event.start_mark.line + 1
            name = self._key(event, events, key, depth)
            here = (*key, name)
            if name in found:
                self._note(line, here, f"is given twice; the first is on line {self.lines[here]}")
            else:
                self.lines[here] = line
            value, below = self._node(next(events), events, here, depth + 1)
            found[name] = value
            deepest = max(deepest, below + 1)
        return found, deepest

    def _key(self, event: Any, events: Iterator[Any], key: Key, depth: int) -> str:
        line = event.start_mark.line + 1
        name, _ = self._node(event, events, (*key, "?"), depth + 1)
        if name == "<<" and event.implicit[0]:
            self._note(line, key, "merge keys (<<) are not supported; write the keys out")
        if isinstance(name, str):
            return name
        self._note(line, key, f"a key must be a text, not {show(name)}; write it in quotes")
        return show(name)

    def _check_tag(self, event: Any, key: Key) -> None:
        if event.tag is not None and event.tag not in _COLLECTIONS:
            self._note(event.start_mark.line + 1, key, f"tag {show(event.tag)} is not supported")

    def _scalar(self, event: Any, key: Key, line: int) -> Any:
        text = event.value
        self._count(len(text), line)
        if not _encodable(text):
            self._note(line, key, "the text holds half a character (a lone surrogate)")
        if event.tag not in (None, "!", _STR):
            self._note(line, key, f"tag {show(event.tag)} is not supported")
        if event.tag is not None or not event.implicit[0]:
            return text
        value = resolve(text)
        if isinstance(value, int) and value.bit_length() > INT_BITS:
            self._note(line, key, f"a whole number of more than {INT_BITS} bits")
        return value


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


def resolve(text: str) -> Any:
    """A plain scalar by YAML 1.2's core schema."""
    if _NULL.match(text):
        return None
    if match := _BOOL.match(text):
        return match[1] is None
    if _INT.match(text):
        if len(text) > 40:  # a number this long is refused anyway, and Python refuses to read some
            return 1 << INT_BITS + 1
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
    if FLOAT.match(text):
        return float(text)
    if match := _NOT_FINITE.match(text):
        return float("nan") if match[2] else float(f"{match[1]}inf")
    return text
