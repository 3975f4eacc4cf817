"""Axes: a list of values, or a mapping such as {range: [0, 4]}, → the values in order."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdbatch.errors import InputError, Problem
from sdbatch.parameters import PARAMETERS, SEED_MAX, Parameter, check, coerce
from sdbatch.sources import files, globs
from sdbatch.spec import dates
from sdbatch.spec.document import FLOAT, plain, resolve
from sdbatch.spec.problems import Key, Problems, near, show
from sdbatch.spec.schema import FORMS, Axis
from sdbatch.spec.series import draws, linspace
from sdbatch.spec.sizes import VALUES_MAX

RANGE_MAX = 2**40
FILE_BYTES = 256 << 20
ALLOWED = f"a list of values, or a mapping with one of {', '.join(FORMS)}"


class _Wrong(Exception):
    """This axis cannot be read; the message says why."""


@dataclass(frozen=True)
class Reader:
    """Reads the axes of one job.

    Attributes:
        base: directory that paths start from.
        job: the job's name, from which random seeds are drawn.
        problems: where mistakes go.
        wildcards: the folder of wildcard files, if there is one.
        links: links lead no further than from here; see `files.reached`. None is `base`.
    """

    base: Path
    job: str
    problems: Problems
    wildcards: Path | None = None
    links: Path | None = None

    def axis(self, name: str, raw: Any, key: Key) -> Axis | None:
        """Read an axis; None, with the mistakes noted, where it is wrong."""
        try:
            if isinstance(raw, list):
                return self._checked(name, raw, key, None)
            if not isinstance(raw, dict):
                hint = f"; write {name}: at the top level for one value" if name in PARAMETERS else ""
                raise _Wrong(f"{show(raw)} is not an axis; allowed: {ALLOWED}{hint}")
            return self._form(name, raw, key)
        except _Wrong as wrong:
            self.problems.add(key, str(wrong))
            return None

    def _form(self, name: str, raw: dict[str, Any], key: Key) -> Axis | None:
        quotes = "; a text that begins with { needs quotes" if _is_text(name) else ""
        if len(raw) != 1:
            raise _Wrong(f"a mapping must have one key; allowed: {ALLOWED}{quotes}")
        ((form, given),) = raw.items()
        read: dict[str, Callable[[str, Any, Key], Sequence[Any] | None]] = {
            "range": self._range,
            "linspace": self._linspace,
            "random": self._random,
            "file": self._file,
            "glob": self._glob,
            "combinatorial": self._combinatorial,
            "from": self._from,
        }
        if form not in read:
            raise _Wrong(f"unknown axis form {form!r}{near(form, FORMS)}; allowed: {ALLOWED}{quotes}")
        values = read[form](name, given, (*key, form))
        if values is None:
            return None
        if isinstance(values, range):
            return self._checked_range(name, values, key, raw)
        return self._checked(name, values, key, raw, written=False)

    def _checked(
        self, name: str, values: Sequence[Any], key: Key, source: Mapping[str, Any] | None, written: bool = True
    ) -> Axis | None:
        """An axis of checked values; `written` says that the spec has a line for each."""
        if not values:
            raise _Wrong("an axis needs at least one value")
        before = len(self.problems.found)
        made = []
        for at, value in enumerate(values):
            item, wrong = coerced(name, value)
            if wrong:
                self.problems.add((*key, at) if written else key, wrong)
            made.append(item)
        return None if len(self.problems.found) > before else Axis(name, made, source)

    def _checked_range(self, name: str, values: range, key: Key, source: Mapping[str, Any]) -> Axis | None:
        """A range keeps its form: first, second and last value stand for all, as bounds and multiples go."""
        if not values:
            raise _Wrong(f"range {show(source['range'])} is empty")
        parameter = PARAMETERS.get(name)
        if parameter and parameter.kind == "float":
            if len(values) > VALUES_MAX:
                raise _Wrong(f"makes {len(values):,} values; at most {VALUES_MAX:,}")
            return self._checked(name, list(values), key, source, written=False)
        for value in (values[0], values[min(1, len(values) - 1)], values[-1]):
            _, wrong = coerced(name, value)
            if wrong:
                raise _Wrong(wrong)
        return Axis(name, values, source)

    def _range(self, name: str, given: Any, key: Key) -> Sequence[Any]:
        numbers = given if isinstance(given, list) else []
        if len(numbers) not in (2, 3) or not all(_whole(number) for number in numbers):
            raise _Wrong(f"range: {show(given)} is not [start, stop] or [start, stop, step] in whole numbers")
        start, stop, step = (*map(int, numbers), 1)[:3]
        if step == 0:
            raise _Wrong("range: the step is 0")
        if abs(stop - start) // abs(step) > RANGE_MAX:
            raise _Wrong("range: too many values")
        return range(start, stop, step)

    def _linspace(self, name: str, given: Any, key: Key) -> Sequence[Any]:
        numbers = given if isinstance(given, list) else []
        if len(numbers) != 3 or not all(_finite(number) for number in numbers) or not _whole(numbers[2]):
            raise _Wrong(f"linspace: {show(given)} is not [start, stop, count]")
        start, stop, count = float(numbers[0]), float(numbers[1]), int(numbers[2])
        if not 1 <= count <= VALUES_MAX:
            raise _Wrong(f"linspace: a count of {count} is outside 1 to {VALUES_MAX}")
        return linspace(start, stop, count)

    def _random(self, name: str, given: Any, key: Key) -> Sequence[Any]:
        if not _whole(given) or not 1 <= given <= VALUES_MAX:
            raise _Wrong(f"random: {show(given)} is not a count from 1 to {VALUES_MAX}")
        parameter = PARAMETERS.get(name, Parameter(name, "int", low=0, high=SEED_MAX))
        if parameter.kind != "int":
            raise _Wrong(f"random draws whole numbers; {name} is not one")
        first, step = int(parameter.low or 0), parameter.multiple
        many = (int(SEED_MAX if parameter.high is None else parameter.high) - first) // step + 1
        if given > many:
            raise _Wrong(f"random: there are only {many} values to draw from")
        return [first + step * draw for draw in draws(f"{self.job}\0{name}", many, int(given))]

    def _from(self, name: str, given: Any, key: Key) -> Sequence[Any]:
        if given != "date":
            raise _Wrong(f"from: {show(given)} is not date, the day on which the run is begun")
        if name in PARAMETERS and PARAMETERS[name].kind != "int":
            raise _Wrong(f"from: date is a whole number such as {dates.number()}; {name} is not one")
        return [dates.number()]

    def _glob(self, name: str, given: Any, key: Key) -> Sequence[Any]:
        if not isinstance(given, str) or not given or "\0" in given:
            raise _Wrong(f"glob: {show(given)} is not a pattern such as photos/**/*.jpg")
        try:
            found = globs.files(given, self.base)
        except globs.TooMany as error:
            raise _Wrong(f"glob: {given!r} {error}") from error
        except InputError as error:
            raise _Wrong(f"glob: {error}") from error
        if not found:
            raise _Wrong(f"glob: no file matches {given!r} in {self.base}")
        return found

    def _combinatorial(self, name: str, given: Any, key: Key) -> Sequence[Any]:
        from sdbatch.prompts.wildcards import Variants

        if name in PARAMETERS and not _is_text(name):
            raise _Wrong(f"combinatorial makes texts; {name} is not one")
        if not isinstance(given, str) or not given:
            raise _Wrong(f"combinatorial: {show(given)} is not a text such as 'a {{red|blue}} __shape__'")
        try:
            return Variants(self.wildcards).all(given)
        except ValueError as error:
            raise _Wrong(f"combinatorial: {error}") from error

    def _file(self, name: str, given: Any, key: Key) -> Sequence[Any] | None:
        if not isinstance(given, str) or not given:
            raise _Wrong(f"file: {show(given)} is not a path")
        parameter = PARAMETERS.get(name)
        values: list[Any] = []
        before = len(self.problems.found)
        for line, text in enumerate(_lines(self.base, given, self.links), 1):
            if not text or text.startswith("#"):
                continue
            value = _typed(parameter, text)
            _, wrong = coerced(name, value)
            if wrong:
                self.problems.put(Problem(beside(self.problems.shown, given), line, name, wrong))
            values.append(value)
            if len(values) > VALUES_MAX:
                raise _Wrong(f"file: {given} holds more than {VALUES_MAX:,} values")
        if len(self.problems.found) > before:
            return None
        if not values:
            raise _Wrong(f"file: {given} holds no value")
        return values


def coerced(name: str, value: Any) -> tuple[Any, str | None]:
    """A value in its own type, or what is wrong with it."""
    parameter = PARAMETERS.get(name)
    wrong = plain(value) or (check(parameter, value) if parameter else _free_problem(value))
    if wrong:
        return value, wrong
    return (coerce(parameter, value) if parameter else value), None


def _lines(base: Path, given: str, links: Path | None) -> list[str]:
    try:
        path = files.reached(base, given, links)
        path.stat()  # what is wrong is said in the system's words
        if not path.is_file():
            raise _Wrong(f"file: {given} is not a regular file")
        if path.stat().st_size > FILE_BYTES:
            raise _Wrong(f"file: {given} is larger than {FILE_BYTES >> 20} MiB")
        text = path.read_text("utf-8-sig")
    except InputError as error:
        raise _Wrong(f"file: {error}") from error
    except (OSError, ValueError) as error:
        reason = "is not UTF-8 text" if isinstance(error, UnicodeError) else f"cannot be read: {reason_of(error)}"
        raise _Wrong(f"file: {given} {reason}") from error
    return [line.strip() for line in text.split("\n")]


def beside(shown: str | None, given: str) -> str:
    """A path relative to the spec, as the user would write it from where the spec's own path starts."""
    return os.path.normpath(os.path.join(os.path.dirname(shown or ""), given))


def reason_of(error: Exception) -> str:
    """Why a file cannot be read, without its path."""
    return getattr(error, "strerror", None) or str(error)


def _typed(parameter: Parameter | None, text: str) -> Any:
    """A line as the parameter's kind; what does not fit stays text and is refused by the check."""
    if parameter is None or parameter.kind == "text":
        return text
    if parameter.kind == "json":
        return from_json(text)
    return resolve(text) if FLOAT.match(text) else text


def from_json(text: str) -> Any:
    """A text that is JSON as its value; any other as it is."""
    try:
        value = json.loads(text, parse_constant=_not_json)
    except (ValueError, RecursionError):
        return text
    return value if plain(value) is None else text


def _not_json(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


def _free_problem(value: Any) -> str | None:
    if isinstance(value, (list, dict)):
        return f"{show(value)} is not a text, number, true, false or null"
    if isinstance(value, float) and not math.isfinite(value):
        return f"{value} is not a finite number"
    return None


def _is_text(name: str) -> bool:
    return name in PARAMETERS and PARAMETERS[name].kind == "text"


def _finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _whole(value: Any) -> bool:
    return _finite(value) and value == int(value)
