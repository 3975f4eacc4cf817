"""Lossy speed-ups that a row asks for: what `accelerate` may say, and the packages that do it; none is imported."""

from __future__ import annotations

import difflib
import importlib.util
import json
from collections.abc import Iterator, Mapping
from importlib import metadata
from typing import Any

PACKAGES = {"deepcache": "DeepCache", "tome": "tomesd"}
"""The keys, and the package of each, by the name that it is both installed and imported under."""
INTERVAL_MAX = 1000
RATIO_MAX = 0.75
"""tomesd keeps one token of every square of 2 × 2: more than three quarters cannot be merged."""
_FORM = f"{{deepcache: N}} (2 to {INTERVAL_MAX}), {{tome: r}} (above 0, at most {RATIO_MAX}), or both in one"


def problem(value: Any) -> str | None:
    """Say what is wrong with a value of `accelerate`; whether the packages are here is not looked at."""
    if value is None:
        return None
    if not isinstance(value, Mapping) or not value:
        return f"is not {_FORM}"
    return next(_problems(value), None)


def missing(value: Any) -> str | None:
    """Say which package a value without a `problem` needs that is not here; None where none is missing."""
    for name in (PACKAGES[key] for key in value or ()):
        if importlib.util.find_spec(name) is None:
            return f'needs the package {name}: pip install "sdbatch[accelerate]"'
    return None


def versions(value: Any) -> dict[str, str]:
    """Versions of the packages that pictures with this value are made by; those that are not here are left out.

    Args:
        value: of `accelerate`, or its JSON text; anything else is as none.
    """
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return {}
    found = {}
    for name in (PACKAGES[key] for key in PACKAGES if isinstance(value, Mapping) and key in value):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _problems(value: Mapping[Any, Any]) -> Iterator[str]:
    for key, given in value.items():
        if key not in PACKAGES:
            near = difflib.get_close_matches(str(key).lower()[:100], PACKAGES, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            yield f"unknown key {str(key)[:60]!r}{hint}; allowed: {', '.join(PACKAGES)}"
        elif isinstance(given, bool) or not isinstance(given, (int, float)):
            yield f"{key} {given!r} is not a number"
        elif key == "deepcache" and not (given == given // 1 and 2 <= given <= INTERVAL_MAX):
            yield f"deepcache {given} is not a whole number from 2 to {INTERVAL_MAX}"
        elif key == "tome" and not 0 < given <= RATIO_MAX:
            yield f"tome {given} is not above 0 and at most {RATIO_MAX}"
