"""Ids, row keys and batch keys of many rows at once: each value is written once, each row hashed once."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from sdbatch.parameters import PARAMETERS
from sdbatch.sources.names import SOURCED
from sdbatch.spec import ids
from sdbatch.spec.columns import Column, merge

SHARED = frozenset(
    {"prompt", "negative_prompt", "seed", "guidance_scale", "image", "mask", "control_image", "depth_image"}
)
"""What may differ inside a batch: the shape of the computation does not depend on it."""


LOADED = ("vae", "controlnet", "loras", "embeddings", "hypernetwork")
"""What is loaded beside a model. Rows that differ in it are planned apart, and those alike one after the other."""


Model = tuple[str, tuple[int, int], str]
"""Content hash, own width and height, kind."""


Content = Callable[[str, Any], Any]
"""(parameter, value) → the value with content hashes in place of the names in it."""


def picture_digests(
    uses: frozenset[str], given: Mapping[str, Column], models: Column, content: Content, count: int
) -> bytes:
    """The `id` of each row of a batch, ten bytes each, by the definition in `ids`.

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
            default = own.get(name, Column([PARAMETERS[name].default]))
            if name in SOURCED:
                given = {**given, name: given[name].map(partial(content, name))}
            lines.append(merge([given[name], default], partial(_line, name)))
    head, varying = _folded(lines)
    if not varying:
        return ids.picture_digests(head, [b""], [b""]) * count
    middle = merge(varying[:-1], lambda *parts: b"".join(parts))
    return ids.picture_digests(head, middle.spread(count), varying[-1].spread(count))


def line_keys(identity: Sequence[str], stage: str, fields: Mapping[str, Column], count: int) -> list[str]:
    """The `row` key of each row of a batch."""

    def tail(*values: str | None) -> bytes:
        return ids.line_tail(stage, {n: v for n, v in zip(fields, values, strict=True) if v is not None})

    return ids.line_keys(identity, merge(list(fields.values()), tail).spread(count))


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


def _line(name: str, value: Any, default: Any) -> bytes:
    return b"" if value == default else ids.line(name, value)


def _folded(lines: Sequence[Column]) -> tuple[bytes, list[Column]]:
    """What comes before the lines that vary, and those; a line that all rows share joins the next one that varies."""
    head: bytes | None = None
    shared, varying = b"", []
    for column in lines:
        if column.codes is None or len(set(column.values)) == 1:
            shared += column.values[0]
            continue
        if head is None:
            head, shared = shared, b""
        varying.append(column.map(partial(bytes.__add__, shared)))
        shared = b""
    if head is None:
        return shared, []
    last = shared
    varying[-1] = varying[-1].map(lambda line: line + last)
    return head, varying
