"""What was found in a picture's metadata, and how it is gathered: bounded, checked, and nothing of it ever run."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sdbatch.parameters import PARAMETERS, SCHEDULE_TYPES, WITH_SIGMAS, check, coerce, steps_problem

DEPTH_MAX = 40
UNMAPPED_MAX = 200
"""Most keys that are listed of a picture."""
_SHOWN = 80
_DIGITS = 20
_NUMBER = re.compile(r"[-+]?(?:\d{1,20}(?:\.\d{0,20})?|\.\d{1,20})(?:[eE][-+]?\d{1,3})?\Z", re.ASCII)


@dataclass(frozen=True)
class Found:
    """A row, as far as a picture's metadata tell it.

    Attributes:
        tool: who wrote the metadata: sdbatch, a1111, comfyui, swarmui or invokeai.
        params: parameters by name, each checked by itself; those that are not known are not there.
        unmapped: key of the metadata → what stands there, or why it has no place here; on one line each.
        model: what the tool calls its model; for sdbatch it stands in `params`.
        own: of sdbatch's own metadata id, row, model_hash, fingerprint and version.
    """

    tool: str
    params: Mapping[str, Any]
    unmapped: Mapping[str, str] = field(default_factory=dict)
    model: str = ""
    own: Mapping[str, str] = field(default_factory=dict)


class Gathering:
    """Gathers a `Found`, value by value."""

    def __init__(self, tool: str) -> None:
        self._tool = tool
        self.params: dict[str, Any] = {}
        self._unmapped: dict[str, str] = {}
        self.model = ""

    def take(self, name: str, value: Any, key: str) -> None:
        """Keep a value as a parameter; list it under its key where the parameter cannot have it. None is no value."""
        if value is None:
            return
        parameter = PARAMETERS[name]
        if isinstance(value, str):
            value = number(value) if parameter.kind in ("int", "float") else storable(value)
        elif parameter.kind == "json":
            value = _storable_json(value)
        wrong = check(parameter, value)
        if wrong:
            self.skip(key, wrong)
        else:
            self.params[name] = coerce(parameter, value)

    def skip(self, key: str, why: Any) -> None:
        """List a key that has no place here."""
        if len(self._unmapped) < UNMAPPED_MAX:
            self._unmapped.setdefault(shown(key), shown(why))

    def sampler(self, scheduler: str | None, sigmas: str | None, key: str, written: Any) -> None:
        """Keep a sampler and its noise levels, where there are such here; `written` is what the tool calls it."""
        if scheduler is None:
            self.skip(key, written)
            return
        self.take("scheduler", scheduler, key)
        if sigmas and scheduler in WITH_SIGMAS:
            self.take("sigmas", sigmas, key)
        elif sigmas:
            self.skip(f"{key} ({SCHEDULE_TYPES.get(sigmas, sigmas)})", f"{scheduler} has no such noise levels here")

    def name_model(self, name: Any, key: str) -> None:
        """Keep what the tool calls its model."""
        if isinstance(name, str):
            self.model = shown(name)
        elif name is not None:
            self.skip(key, name)

    def found(self, own: Mapping[str, str] | None = None) -> Found:
        """All that was gathered."""
        steps, scheduler = self.params.get("steps"), self.params.get("scheduler", "")
        if steps is not None and (wrong := steps_problem(scheduler, steps)):
            del self.params["steps"]
            self.skip("steps", wrong)
        return Found(self._tool, self.params, self._unmapped, self.model, own or {})


def parse(text: str) -> Any:
    """JSON as plain values; NaN, infinities and numbers of more than 20 digits come as their text.

    Raises:
        ValueError: it is not JSON, or nested too deep.
    """
    try:
        value = json.loads(text, parse_constant=str, parse_int=_whole)
    except RecursionError:
        raise ValueError("nested too deep") from None
    level = [value]
    for _ in range(DEPTH_MAX):
        level = [inner for item in level for inner in _inside(item)]
        if not level:
            return value
    raise ValueError("nested too deep")


def parsed(text: str) -> dict[str, Any] | None:
    """A JSON object; None where the text is none."""
    try:
        value = parse(text) if text.lstrip()[:1] == "{" else None
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def number(text: str) -> Any:
    """A number out of its text; the text itself where it is none."""
    if not _NUMBER.match(text.strip()):
        return text
    value = float(text)
    return int(text) if re.fullmatch(r"\s*[-+]?\d+\s*", text) else value


def shown(value: Any) -> str:
    """A value on one short line, with controls as escapes: it may come from anybody."""
    text = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
    cut = text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in cut)


def storable(text: str) -> str:
    """A text that a file can hold: a lone surrogate becomes `?`."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _storable_json(value: Any) -> Any:
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, list):
        return [_storable_json(item) for item in value]
    return {storable(key): _storable_json(item) for key, item in value.items()} if isinstance(value, dict) else value


def _inside(value: Any) -> Any:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def _whole(text: str) -> Any:
    return int(text) if len(text) <= _DIGITS else text
