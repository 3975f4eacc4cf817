"""hf-dataset: Parquet shards with the pictures' bytes in them, as Hugging Face's `datasets` stores them."""

from __future__ import annotations

import io
import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sdbatch.export.lines import MASK, Line, Target

_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_NAMES = {pa.int64(): "int64", pa.float64(): "float64", pa.string(): "string"}
_WHOLE = ("seed", "seed_used", "width", "height")


def write(lines: list[Line], target: Target) -> None:
    """Write it; see `Format`."""
    names = sorted({name for line in lines for name in line.columns})
    features: dict[str, Any] = {"image": {"_type": "Image"}}
    kinds = {name: _kind(name) for name in names}
    features |= {name: {"dtype": _NAMES[kind], "_type": "Value"} for name, kind in kinds.items()}
    masked = any(line.mask for line in lines)
    if masked:
        features[MASK] = {"_type": "Image"}
    said = {"huggingface": json.dumps({"info": {"features": features}}, sort_keys=True)}
    pictures = [("image", _IMAGE), *([(MASK, _IMAGE)] if masked else [])]
    schema = pa.schema([*pictures, *kinds.items()], metadata=said)
    for split, number, count, here in target.shards(lines):
        cells: dict[str, list[Any]] = {"image": [{"bytes": target.picture(one), "path": one.name} for one in here]}
        if masked:
            masks = ((one, target.mask(one)) for one in here)
            cells[MASK] = [None if data is None else {"bytes": data, "path": f"{one.key}.png"} for one, data in masks]
        cells |= {name: [_cell(kinds[name], one.columns.get(name)) for one in here] for name in names}
        data = io.BytesIO()
        pq.write_table(pa.table(cells, schema), data, compression="zstd")
        target.put(f"data/{split}-{number:05d}-of-{count:05d}.parquet", data.getvalue())


def _kind(name: str) -> pa.DataType:
    if name in _WHOLE:
        return pa.int64()
    return pa.float64() if name == "strength" else pa.string()


def _cell(kind: pa.DataType, value: Any) -> Any:
    if value is None or kind != pa.string() or isinstance(value, str):
        return value
    return json.dumps(value, sort_keys=True, ensure_ascii=False)
