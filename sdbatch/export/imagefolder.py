"""imagefolder, as Hugging Face reads it: a folder a split, with pictures and a metadata.jsonl."""

from __future__ import annotations

import json

from sdbatch.export.lines import Line, Target


def write(lines: list[Line], target: Target) -> None:
    """Write it; see `Format`."""
    for split in sorted({line.split for line in lines}):
        here = [line for line in lines if line.split == split]
        for line in here:
            target.put(f"{split}/{line.name}", target.picture(line))
        names = sorted({name for line in here for name in line.columns})
        said = ({"file_name": line.name, **{name: line.columns.get(name) for name in names}} for line in here)
        text = "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in said)
        target.put(f"{split}/metadata.jsonl", text.encode())
