"""webdataset: shards of `KEY.png` and `KEY.json`, tars that are the same bytes each time."""

from __future__ import annotations

import io
import json
import tarfile

from sdbatch.export.lines import Line, Target


def write(lines: list[Line], target: Target) -> None:
    """Write it; see `Format`."""
    for split, number, _, here in target.shards(lines):
        data = io.BytesIO()
        with tarfile.open(fileobj=data, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for line in here:
                said = json.dumps(dict(line.columns), sort_keys=True, ensure_ascii=False).encode()
                members = [(line.name, target.picture(line)), (f"{line.key}.json", said)]
                if isinstance(line.columns.get("label"), str):
                    members.append((f"{line.key}.cls", line.columns["label"].encode()))
                if (mask := target.mask(line)) is not None:
                    members.append((f"{line.key}.mask.png", mask))
                for name, member in members:
                    info = tarfile.TarInfo(name)  # no time, no owner: the same pictures make the same tar
                    info.size = len(member)
                    tar.addfile(info, io.BytesIO(member))
        target.put(f"{split}-{number:06d}.tar", data.getvalue())
