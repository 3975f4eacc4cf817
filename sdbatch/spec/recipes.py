"""Recipes as a spec has them: their keys, and what a job keeps of one. What they do is in the room `recipes`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

KEYS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "augment": {
        "input": {"type": "string", "description": "the data set: a folder, a .tar, a .parquet, or a pattern"},
        "variations": {"type": "integer", "minimum": 1, "description": "pictures to make of each; 4 unless said"},
        "label": {"type": "string", "description": "the column that holds the class; `label` unless said"},
        "per_class": {"type": "integer", "minimum": 1, "description": "pictures to make of each class instead"},
        "splits": {"type": "array", "items": {"type": "string"}, "description": "only inputs of these splits"},
        "similarity": {
            "type": "object",
            "description": "how alike to its parent a picture may be",
        },
        "distinct": {
            "type": "integer",
            "minimum": 1,
            "description": "bits in which hashes of siblings differ",
        },
        "boxes": {"enum": ["keep", "drop"], "description": "what becomes of boxes in modes that may move content"},
    },
}
"""Each recipe's own keys, as JSON Schema has them."""


@dataclass(frozen=True)
class Recipe:
    """A job's recipe, expanded.

    Attributes:
        own: its own keys, as written.
        table: the rows that the data set comes to: parameters and free columns.
        guard: what judges each picture in the worker; None judges nothing.
    """

    name: str
    own: Mapping[str, Any]
    table: pa.Table = field(compare=False, repr=False)
    guard: Any = None

    @property
    def columns(self) -> tuple[str, ...]:
        """Of the table."""
        return tuple(self.table.column_names)
