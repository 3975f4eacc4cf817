"""sdbatch's own JSON: a row, exactly."""

from __future__ import annotations

from collections.abc import Mapping

from sdbatch.foreign.found import Found, Gathering, parsed
from sdbatch.parameters import PARAMETERS

KEY = "sdbatch"
SCHEMA = 1
_ABOUT = ("id", "row", "model_hash", "fingerprint", "version")
_REST = {"schema", "params", "fine_tunes", *_ABOUT}


def read(texts: Mapping[str, str]) -> Found | None:
    """The row of a picture that sdbatch made; None where there is no such text, or of a later schema."""
    content = parsed(texts.get(KEY, ""))
    if content is None or content.get("schema") != SCHEMA or not isinstance(content.get("params"), dict):
        return None
    gathering = Gathering("sdbatch")
    for name, value in content["params"].items():
        if name in PARAMETERS:
            gathering.take(name, value, name)
        else:
            gathering.skip(name, value)
    for key in content.keys() - _REST:
        gathering.skip(key, content[key])
    return gathering.found({name: str(content.get(name, "")) for name in _ABOUT})
