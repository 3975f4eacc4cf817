"""Ids, row keys and batch keys of many rows at once: each value is written once, each row hashed once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from sdbatch.parameters import PARAMETERS
from sdbatch.sources.names import SOURCED
from sdbatch.spec import ids
from sdbatch.spec.columns import Column, Ints, merge, numbered
from sdbatch.spec.hashing import Spread, Work

SHARED = frozenset(
    {"prompt", "negative_prompt", "seed", "guidance_scale", "image", "mask", "control_image", "depth_image"}
)
"""What may differ inside a batch: the shape of the computation does not depend on it."""


LOADED = ("vae", "controlnet", "loras", "embeddings", "hypernetwork", "clip_model", "aesthetic_model")
"""What is loaded beside a model. Rows that differ in it are planned apart, and those alike one after the other."""


_LAST = 100
_ENDS = [*(f"{end:02}\n".encode() for end in range(_LAST)), *(f"{end}\n".encode() for end in range(_LAST)), b""]
"""The last two digits of a number's line; the digits of one below _LAST; and of no line."""


Model = tuple[str, tuple[int, int], str]
"""Content hash, own width and height, kind."""


Content = Callable[[str, Any], Any]
"""(parameter, value) → the value with content hashes in place of the names in it."""


def pictures(uses: frozenset[str], given: Mapping[str, Column], models: Column, content: Content, count: int) -> Work:
    """What the `id` of each row of a batch is made of, by the definition in `ids`.

    Args:
        uses: parameters that the rows' mode uses.
        given: every parameter, defaults filled in.
        models: the rows' `Model`.
        content: asked for the parameters of `sources.names.SOURCED`.
    """
    own = {"width": models.map(lambda model: model[1][0]), "height": models.map(lambda model: model[1][1])}
    lines = []
    for name in sorted(uses - {"revision"}):
        if name == "model":
            lines.append(models.map(lambda model: ids.line("model", model[0])))
        else:
            column = given[name].map(partial(content, name)) if name in SOURCED else given[name]
            lines.append(_lines(name, column, own.get(name, Column([PARAMETERS[name].default]))))
    head, varying = _folded(lines)
    if not varying:
        return Work(ids.VERSION + head, ([b""], None), ([b""], None), None, count)
    middle = merge(varying[:-1], lambda *parts: b"".join(parts))
    return Work(ids.VERSION + head, _spread(middle), _spread(varying[-1]), None, count)


def line_texts(stage: str, fields: Mapping[str, Column]) -> Spread:
    """What the `row` key of each row of a batch has after its id."""

    def tail(*values: str | None) -> bytes:
        return ids.line_tail(stage, {n: v for n, v in zip(fields, values, strict=True) if v is not None})

    return _spread(merge(list(fields.values()), tail))


def batch_keys(uses: frozenset[str], given: Mapping[str, Column], models: Column) -> Column:
    """The batch key: every used parameter but those a batch may mix, and whether guidance is on.

    Returns:
        JSON of [model hash, values of LOADED, guidance on, the other values].
    """
    beside = [name for name in LOADED if name in uses]
    names = sorted((uses | {"width", "height"}) - SHARED - {"model", "revision", *LOADED})
    guided = given["guidance_scale"].map(lambda value: value > 1)

    def key(model: Model, on: bool, *values: Any) -> str:
        return json.dumps([model[0], values[: len(beside)], on, *values[len(beside) :]], sort_keys=True)

    return merge([models, guided, *(given[name] for name in (*beside, *names))], key)


class _Numbers(Sequence[bytes]):
    """Lines of packed numbers, none of them negative, written only when they are asked for."""

    def __init__(self, name: str, values: Ints, without: int | None) -> None:
        self._name, self._values, self._without = name, values, without

    def __len__(self) -> int:
        return len(self._values)

    @overload
    def __getitem__(self, at: int) -> bytes: ...
    @overload
    def __getitem__(self, at: slice) -> list[bytes]: ...
    def __getitem__(self, at: int | slice) -> bytes | list[bytes]:
        return list(self)[at]

    def __iter__(self) -> Iterator[bytes]:
        return (_line(self._name, value, self._without) for value in self._values)

    def split(self, codes: NDArray[np.int64]) -> tuple[Column, Column]:
        """The lines in two: all but the last digits, of which there are few, and those, which are always the same."""
        high, low = np.divmod(self._values.packed, _LAST)
        if high.min() == 0:
            low[high == 0] += _LAST  # such a number is not filled up with zeros
        none = np.flatnonzero(self._values.packed == self._without)
        high[none], low[none] = -1, 2 * _LAST
        kinds, places = numbered(high)
        texts = {-1: "", 0: f"{self._name}="}
        heads = [texts.get(kind, f"{self._name}={kind}").encode() for kind in kinds.tolist()]
        return Column(heads, places[codes]), Column(_ENDS, low[codes])


def _lines(name: str, column: Column, default: Column) -> Column:
    """A parameter's lines; none where a row has the default."""
    if default.codes is not None:
        return merge([column, default], partial(_line, name))
    value = default.values[0]
    values = column.values
    if isinstance(values, Ints) and len(values) > 2 * _LAST and column.bounds()[0] >= 0 and _whole(value):
        return Column(_Numbers(name, values, value), column.codes)
    return column.map(lambda given: _line(name, given, value))


def _whole(value: Any) -> bool:
    return value is None or type(value) is int


def _line(name: str, value: Any, default: Any) -> bytes:
    return b"" if value == default else ids.line(name, value)


def _folded(lines: Sequence[Column]) -> tuple[bytes, list[Column]]:
    """What comes before the lines that vary, and those; a line that all rows share joins the next one that varies."""
    head: bytes | None = None
    shared, varying = b"", []
    for column in lines:
        values = column.values
        if column.codes is None or len(values) == 1 or (isinstance(values, list) and len(set(values)) == 1):
            shared += values[0]
            continue
        if head is None:
            head, shared = shared, b""
        varying += [Column([shared]), column]
        shared = b""
    if head is None:
        return shared, []
    last = varying.pop()
    if isinstance(last.values, _Numbers) and last.codes is not None:
        high, last = last.values.split(last.codes)
        varying.append(high)
    return head, [*varying, last.map(lambda line: line + shared) if shared else last]


def _spread(column: Column) -> Spread:
    """Texts and their places, as `hashing` takes them."""
    return list(column.values), None if column.codes is None else column.codes.astype(np.uint32).tobytes()
