"""Recipes as a spec has them: their keys, and what a job keeps of one. What they do is in the room `recipes`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

    from sdbatch.sources.hidden import Hidden

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
            "maximum": 64,
            "description": "bits of 64 in which the perceptual hashes of one parent's pictures must differ",
        },
        "boxes": {"enum": ["keep", "drop"], "description": "what becomes of boxes in modes that may move content"},
    },
    "anonymize": {
        "input": {"type": "string", "description": "the data set: a folder, a .tar, a .parquet, or a pattern"},
        "key_file": {
            "type": "string",
            "description": "a file of 16 bytes or more that keys names and hashes",
        },
        "find": {"enum": ["faces", "boxes", "masks", "whole"], "description": "what is hidden; faces unless said"},
        "replace": {
            "enum": ["inpaint", "img2img", "fill", "blur", "pixelate"],
            "description": "how it is hidden; inpaint unless said",
        },
        "outside": {
            "enum": ["keep", "encode"],
            "description": "what is not hidden: bit for bit as it was, or through the model's VAE like the rest",
        },
        "detector": {"enum": ["auto", "centerface", "lbp"], "description": "what finds faces"},
        "threshold": {"type": "number", "description": "the least score of a face"},
        "margin": {"type": "number", "description": "by how much of its sides a face's box is widened"},
        "unfound": {"enum": ["review", "keep"], "description": "what becomes of pictures without a face"},
        "tries": {"type": "integer", "minimum": 1, "description": "attempts with a model before the fallback; 3"},
        "fallback": {"enum": ["blur", "pixelate", "fill"], "description": "what is done when a model does not help"},
        "likeness": {"type": "object", "description": "{clip_model: NAME, most: F}: how like who was there it may be"},
        "new_faces": {"type": "boolean", "description": "a face may be there, if likeness says that it is another"},
        "keep_columns": {"type": "array", "items": {"type": "string"}, "description": "columns that travel; else none"},
    },
}
"""Each recipe's own keys, as JSON Schema has them."""


@dataclass(frozen=True)
class Recipe:
    """A job's recipe, expanded.

    Attributes:
        own: its own keys, as written.
        table: the rows that the data set comes to: parameters and free columns.
        hidden: inputs whose names and hashes are not to be known; None where they may.
        decides: parameters of the whole job that it sets, and no spec has beside it.
        guard: what judges each picture in the worker; None judges nothing.
    """

    name: str
    own: Mapping[str, Any]
    table: pa.Table = field(compare=False, repr=False)
    guard: Any = None
    decides: tuple[str, ...] = ()
    hidden: Hidden | None = field(default=None, compare=False, repr=False)

    @property
    def columns(self) -> tuple[str, ...]:
        """Of the table."""
        return tuple(self.table.column_names)
