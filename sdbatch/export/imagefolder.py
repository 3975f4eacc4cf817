"""imagefolder, as Hugging Face reads it: a folder a split, with pictures and a metadata.jsonl."""

from __future__ import annotations

import json

from sdbatch.export.lines import MASK, Line, Target


def write(lines: list[Line], target: Target) -> None:
    """Write it; see `Format`."""
    for split in sorted({line.split for line in lines}):
        here = [line for line in lines if line.split == split]
        for line in here:
            target.put(f"{split}/{line.name}", target.picture(line))
            if (mask := target.mask(line)) is not None:
                target.put(f"{split}/{_mask(line)}", mask)
        names = sorted({name for line in here for name in line.columns})
        said = ({**_files(line), **{name: line.columns.get(name) for name in names}} for line in here)
        text = "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in said)
        target.put(f"{split}/metadata.jsonl", text.encode())


def _files(line: Line) -> dict[str, str]:
    """The picture, and what marks its object: `datasets` reads a column NAME_file_name as pictures NAME."""
    mask = {} if line.mask is None else {f"{MASK}_file_name": _mask(line)}
    return {"file_name": line.name, **mask}


def _mask(line: Line) -> str:
    return f"{line.key}.mask.png"
