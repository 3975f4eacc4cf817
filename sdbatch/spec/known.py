"""One row whose parameters are known to the last: its id and its batch key, as `grid` makes them of many."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sdbatch import modes, parameters
from sdbatch.errors import RowError
from sdbatch.parameters import PARAMETERS
from sdbatch.spec import checks, hashing, keys
from sdbatch.spec.columns import Column
from sdbatch.spec.grid import Names


@dataclass(frozen=True)
class Known:
    """What follows from a row's parameters.

    Attributes:
        params: every parameter, with the width and height of what is made.
        key: the batch key.
        model_hash: of the model as it is here.
    """

    params: Mapping[str, Any]
    id: str
    key: str
    model_hash: str


def known(params: Mapping[str, Any], names: Names) -> Known:
    """Look up what a row names, and hash it as its `id` does.

    Args:
        params: every parameter, defaults filled in, prompts as the model reads them.

    Raises:
        ModelError: a model or a fine-tune is missing or broken. (A picture may be: the row fails when it is made.)
        RowError: a value is not allowed here.
        UsageError: there is no such mode.
    """
    mode = modes.get(params["mode"])
    for name in sorted(mode.USES):
        if wrong := parameters.check(PARAMETERS[name], params[name]):
            raise RowError(f"{name}: {wrong}")
    model = names.model(params["model"], params["revision"])
    given = {name: Column([value]) for name, value in params.items()}
    for key, message in checks.problems(mode, given, [model[2]]):
        raise RowError(f"{key}: {message}")
    full = {**params, **_size(mode, params, model, names)}
    given = {name: Column([value]) for name, value in full.items()}
    identity = hashing.digests(keys.pictures(mode.USES, given, Column([model]), names.content, 1)).hex()
    return Known(full, identity, keys.batch_keys(mode.USES, given, Column([model])).values[0], model[0])


def _size(mode: modes.Mode, params: Mapping[str, Any], model: keys.Model, names: Names) -> dict[str, int]:
    """Width and height: as known, else as the mode has them."""
    if params["width"] is not None and params["height"] is not None:
        return {}
    picture = (0, 0) if mode.PICTURE is None else names.picture_size(params[mode.PICTURE])
    try:
        width, height = mode.size({name: params[name] for name in mode.SIZED}, model[1], picture, model[2])
    except ValueError as error:
        raise RowError(f"{mode.SIZED[-1]}: {error}") from error
    return {"width": width, "height": height}
