"""Run directory → data set, one file a format. Found by its name: `hf-dataset` is `hf_dataset.py`."""

from __future__ import annotations

from importlib import import_module
from typing import Any, Protocol

from sdbatch.export.lines import Line, Target

FORMATS = ("imagefolder", "webdataset", "hf-dataset", "coco")


class Format(Protocol):
    """A way to lay pictures out."""

    def write(self, lines: list[Line], target: Target) -> None:
        """Write all files but the card; those that are there already and whole stay as they are."""


def get(name: str) -> Format:
    """A format by its name, one of FORMATS."""
    found: Any = import_module(f"{__name__}.{name.replace('-', '_')}")
    format_: Format = found
    return format_
