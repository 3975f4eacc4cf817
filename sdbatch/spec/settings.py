"""The sections `output:` and `render:`: what is written, and how pictures are made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sdbatch.spec import templates
from sdbatch.spec.problems import Problems, near, show, unknown
from sdbatch.spec.schema import (
    DIR_FIELDS,
    FORMATS,
    HOOKS,
    OUTPUT_KEYS,
    RENDER,
    SAFETY,
    SAVED,
    SIGNING_KEYS,
    SWITCH,
    Setting,
)
from sdbatch.types import Output, Signing

Sections = Mapping[str, Any]


def mapping(data: Sections, section: str) -> dict[str, Any]:
    """A section that is a mapping; empty where it is not there or something else."""
    found = data.get(section)
    return found if isinstance(found, dict) else {}


def _section(data: Sections, section: str, allowed: tuple[str, ...], problems: Problems) -> dict[str, Any]:
    """A section's known keys."""
    raw = data.get(section)
    if raw is not None and not isinstance(raw, dict):
        problems.add((section,), f"{show(raw)} is not a mapping; allowed keys: {', '.join(allowed)}")
    found = {}
    for name, value in mapping(data, section).items():
        if name in allowed:
            found[name] = value
        else:
            problems.add((section, name), unknown(name, allowed))
    return found


def output(data: Sections, problems: Problems) -> Output:
    """Read `output:`, and `safety:`."""
    found = _section(data, "output", OUTPUT_KEYS, problems)
    checks = {
        "dir": _directory,
        "filename": _filename,
        "format": _format,
        "quality": _quality,
        "save": _saved,
        "c2pa": _signing,
    }
    given: dict[str, Any] = {}
    for name, value in found.items():
        if value is None:
            continue  # as if not given
        wrong = checks.get(name, _text)(value)
        if wrong:
            problems.add(("output", name), wrong)
        else:
            given[name] = _MADE.get(name, _as_it_is)(value)
    if given.get("quality") is not None and given.get("format", "png") == "png":
        problems.add(("output", "quality"), "format png is lossless and has no quality; it is for jpeg and webp")
    return Output(**given, safety=_safety(data, problems))


def _safety(data: Sections, problems: Problems) -> str:
    """Read `safety:`, which stands beside `output:`."""
    value = data.get("safety")
    if value is None or value in SAFETY:
        return str(value or "off")
    problems.add(("safety",), f"{show(value)} is not one of {', '.join(SAFETY)}{near(str(value), SAFETY)}")
    return "off"


def _signing(value: Any) -> str | None:
    known = isinstance(value, dict) and set(value) == set(SIGNING_KEYS)
    if known and not any(_text(path) for path in value.values()):
        return None
    return f"{show(value)} is not a mapping of {' and '.join(SIGNING_KEYS)} to the paths of two PEM files"


def _as_it_is(value: Any) -> Any:
    return value


_MADE: dict[str, Callable[[Any], Any]] = {"save": tuple, "c2pa": lambda value: Signing(**value)}
"""Keys of `output:` whose values are not kept as YAML has them."""


def _text(value: Any) -> str | None:
    return None if isinstance(value, str) and value and "\0" not in value else f"{show(value)} is not a text"


def _directory(value: Any) -> str | None:
    if _text(value):
        return _text(value)
    try:
        known = set(templates.fields(value)) <= set(DIR_FIELDS)
    except ValueError as error:
        return str(error)
    return None if known else f"has the fields {', '.join(f'{{{name}}}' for name in DIR_FIELDS)}; double other braces"


def _filename(value: Any) -> str | None:
    if _text(value):
        return _text(value)
    if value.startswith("/"):
        return "must not begin with /; it is relative to the run directory"
    try:
        templates.compile(value)
    except ValueError as error:
        return str(error)
    return None


def _format(value: Any) -> str | None:
    hint = "; did you mean 'jpeg'?" if value == "jpg" else near(str(value), FORMATS)
    return None if value in FORMATS else f"{show(value)} is not one of {', '.join(FORMATS)}{hint}"


def _quality(value: Any) -> str | None:
    good = isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 100
    return None if good else f"{show(value)} is not a whole number from 1 to 100"


def _saved(value: Any) -> str | None:
    good = isinstance(value, list) and all(item in SAVED for item in value)
    return None if good else f"{show(value)} is not a list of {', '.join(SAVED)}"


def render(data: Sections, problems: Problems) -> dict[str, Any]:
    """Read `render:`; only the keys that were given."""
    given = {}
    for name, value in _section(data, "render", tuple(RENDER), problems).items():
        try:
            given[name] = _setting(RENDER[name], value)
        except ValueError as error:
            problems.add(("render", name), str(error))
    return given


def hooks(data: Sections, problems: Problems) -> dict[str, tuple[str, ...]]:
    """Read `on_finish:` and `on_failure:`, each a text or a list of them."""
    found: dict[str, tuple[str, ...]] = {}
    for name in HOOKS:
        given = data.get(name)
        if given is None:
            continue
        texts = given if isinstance(given, list) else [given]
        if not texts or not all(isinstance(text, str) and text.strip() and "\0" not in text for text in texts):
            problems.add(
                (name,), f"{show(given)} is not a command or an address (http:// or https://), or a list of them"
            )
            continue
        found[name] = tuple(texts)
    return found


def _setting(setting: Setting, value: Any) -> Any:
    """A setting in its own type; a ValueError says what is allowed."""
    number = isinstance(value, int) and not isinstance(value, bool)
    if setting.switch:
        if isinstance(value, bool):
            return value
        if isinstance(value, str) and value.lower() in SWITCH:
            return SWITCH[value.lower()]
        raise ValueError(f"{show(value)} is not on or off")
    if isinstance(value, str) and value in setting.choices:
        return value
    if setting.low is None or setting.high is None:
        hint = near(value, setting.choices) if isinstance(value, str) else ""
        raise ValueError(f"{show(value)} is not one of {', '.join(setting.choices)}{hint}")
    if number and setting.low <= value <= setting.high:
        return value
    raise ValueError(f"{show(value)} is not auto or a whole number from {setting.low} to {setting.high}")
