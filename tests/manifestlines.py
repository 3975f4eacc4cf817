"""Lines of a manifest for tests of it."""

from __future__ import annotations

from sdbatch import modes
from sdbatch.parameters import PARAMETERS
from sdbatch.store.manifest import record
from sdbatch.types import Record, Row

USES = modes.get("txt2img").USES


def line(number: int, **fields: str | None) -> Record:
    """One line, with these free columns."""
    params = {name: parameter.default for name, parameter in PARAMETERS.items()}
    params |= {"seed": number, "width": 64, "height": 64}
    row = Row(f"{number:020x}", f"{number + 1000:020x}", "main", f"images/{number}.png", params, fields)
    return record(row, USES, {"model_hash": "0" * 64, "pixel_sha256": "1" * 64, "seconds": 0.5, "run": "r"})
