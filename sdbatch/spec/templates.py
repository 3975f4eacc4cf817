"""`{NAME}` fields in prompts and file names.

`{NAME}` and `{NAME:format}` are looked up in a flat mapping; NAME is an identifier, or two joined by
a dot. There are no attributes, indexes or conversions. `{{` and `}}` stand for one brace. Any other
brace stays as it is (`{a|b}`, `{2$$a|b}`, `{0.5::x|y}`), also nested: braces that close such a group
are not taken for `}}`. What is filled in is never read again.

How values are filled in: None is empty, true and false are in lower case, a whole float keeps its
point (4.0), lists and mappings are JSON. A text that is a number takes a number's format
(`{index:04d}`), because the columns of a table come as text.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

NAME_BYTES = 150
"""Longest part of a file name, in bytes of UTF-8; leaves room for extensions."""

_BRACE = re.compile(r"[{}]")
_FIELD = re.compile(r"\{([^\W\d]\w*(?:\.[^\W\d]\w*)?)(?::([^{}|$:]*))?\}")
_FORMAT = re.compile(r"[<>^]?0?\d{0,3}(?:\.\d{1,3})?[bdeEfFgGosxX%]?\Z")
_WHOLE = re.compile(r"[-+]?\d{1,40}\Z", re.ASCII)
_UNSAFE = re.compile(r'[<>:"|?*\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029]')
_RESERVED = re.compile(r"(?:CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(?:COM|LPT)[0-9\u00b9\u00b2\u00b3])\Z", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Field:
    """A place to fill in."""

    name: str
    format: str


@dataclass(frozen=True, slots=True)
class Template:
    """A compiled template: literal texts and fields, in order."""

    parts: tuple[str | Field, ...]

    @property
    def fields(self) -> tuple[str, ...]:
        """The names used, each once, in order of first use."""
        return tuple(dict.fromkeys(part.name for part in self.parts if isinstance(part, Field)))

    def fill(self, values: Mapping[str, Any]) -> str:
        """Fill every field.

        Raises:
            ValueError: nothing provides a field, or its format does not fit its value.
        """
        return "".join(text for text, _ in self._filled(values))

    def _filled(self, values: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
        """The texts in order, and whether each was filled in."""
        for part in self.parts:
            if isinstance(part, str):
                yield part, False
            elif part.name in values:
                yield _format(part, values[part.name]), True
            else:
                raise ValueError(f"nothing provides {{{part.name}}}")


def fields(template: str) -> tuple[str, ...]:
    """The names that a template uses.

    Raises:
        ValueError: a field's format is not one.
    """
    return compile(template).fields


def compile(template: str) -> Template:
    """Read a template.

    Raises:
        ValueError: a field's format is not one.
    """
    parts: list[str | Field] = []
    literal: list[str] = []
    at = depth = 0
    while brace := _BRACE.search(template, at):
        literal.append(template[at : brace.start()])
        at = brace.start()
        if template.startswith("{{", at):
            literal.append("{")
            at += 2
        elif match := _FIELD.match(template, at):
            parts += ["".join(literal), _field(match)]
            literal = []
            at = match.end()
        elif not depth and template.startswith("}}", at):
            literal.append("}")
            at += 2
        else:
            depth = max(depth + (1 if brace[0] == "{" else -1), 0)
            literal.append(brace[0])
            at += 1
    parts.append("".join(literal) + template[at:])
    return Template(tuple(part for part in parts if part))


def _field(match: re.Match[str]) -> Field:
    name, form = match[1], match[2] or ""
    if not _FORMAT.match(form):
        raise ValueError(f"{match[0]!r}: {form!r} is not a format; such as 06d or .2f, or double the braces")
    return Field(name, form)


def _format(part: Field, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        value = "true" if value else "false"
    elif isinstance(value, (list, dict, tuple)):
        value = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    if not part.format:
        return str(value)
    try:
        return format(_number(value, part.format[-1]) if isinstance(value, str) else value, part.format)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{{{part.name}:{part.format}}} does not fit {_cut(value)}") from error


def _number(text: str, kind: str) -> int | float | str:
    """A text as the number that a format asks for; other texts as they are."""
    if kind in "bdoxX" and _WHOLE.match(text):
        return int(text)
    return float(text) if kind in "eEfFgG%" else text


def _cut(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def file_name(template: Template, values: Mapping[str, Any]) -> str:
    """Fill a template of a file name: a relative path with `/`, without extension, below any directory.

    A `/` of the template parts folders; one in a value becomes `_`. See `safe_name` for the rest.

    Raises:
        ValueError: nothing provides a field, or its format does not fit its value.
    """
    texts = (text.replace("/", "_") if filled else text for text, filled in template._filled(values))
    return "/".join(safe_name(part) for part in "".join(texts).split("/"))


def safe_name(text: str) -> str:
    """One part of a path that every usual file system takes: never empty, `.` or `..`, never with a `/`.

    Separators, control characters and `<>:"|?*` become `_`; dots and spaces at the end go; a name that
    Windows keeps for itself gets a `_`; a long one is cut and gets a hash of the whole.
    """
    text = unicodedata.normalize("NFC", text).replace("/", "_").replace("\\", "_")
    name = _UNSAFE.sub("_", text).rstrip(". ")
    stem, dot, rest = name.partition(".")
    if _RESERVED.match(stem.rstrip(" ")):
        name = f"{stem}_{dot}{rest}"
    if len(name.encode()) > NAME_BYTES:
        name = _shorten(name)
    return name or "_"


def _shorten(name: str) -> str:
    from hashlib import blake2b

    whole = name.encode()
    head = whole[: NAME_BYTES - 9].decode("utf-8", "ignore")
    return f"{head}-{blake2b(whole, digest_size=4).hexdigest()}"
