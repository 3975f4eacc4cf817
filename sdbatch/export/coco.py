"""coco: pictures in a folder a split, and instances with their boxes in one JSON file each."""

from __future__ import annotations

import json
from typing import Any

from sdbatch.errors import UsageError
from sdbatch.export.lines import BOXES, Line, Target


def write(lines: list[Line], target: Target) -> None:
    """Write it; see `Format`.

    Raises:
        UsageError: no picture has boxes or a label.
    """
    if not any(_instances(line) for line in lines):
        raise UsageError(f"--to coco: no picture has boxes (a column {', '.join(BOXES)}) or a label")
    names = sorted({name for line in lines for name, _ in _instances(line)})
    numbers = {name: at for at, name in enumerate(names, 1)}
    for split in sorted({line.split for line in lines}):
        images: list[dict[str, Any]] = []
        found: list[dict[str, Any]] = []
        for line in (line for line in lines if line.split == split):
            number = len(images) + 1
            size = {name: int(line.columns.get(name) or 0) for name in ("width", "height")}
            one = {"id": number, "file_name": line.name, **size, "sdbatch_id": line.columns["id"]}
            if (mask := target.mask(line)) is not None:
                one["mask_file_name"] = f"masks/{line.key}.png"
                target.put(f"{split}/{one['mask_file_name']}", mask)
            images.append(one)
            target.put(f"{split}/{line.name}", target.picture(line))
            outlines = _outlines(line)
            for at, (name, box) in enumerate(_instances(line)):
                x, y, w, h = box if box is not None else (0, 0, size["width"], size["height"])
                found.append({
                    "id": len(found) + 1, "image_id": number, "category_id": numbers[name], "bbox": [x, y, w, h],
                    "area": w * h, "iscrowd": 0, "segmentation": outlines.get(at, []),
                })  # fmt: skip
        whole = {
            "images": images,
            "annotations": found,
            "categories": [{"id": number, "name": name} for name, number in numbers.items()],
        }
        text = json.dumps(whole, ensure_ascii=False, indent=1)
        target.put(f"annotations/instances_{split}.json", (text + "\n").encode())


def _instances(line: Line) -> list[tuple[str, Any]]:
    """(category, box) of each; a picture with a label alone is one instance all over."""
    label = str(line.columns.get("label", "object"))
    boxes = next((line.columns[name] for name in BOXES if isinstance(line.columns.get(name), list)), None)
    if boxes is None:
        return [(label, None)] if "label" in line.columns else []
    kinds = line.columns.get("categories")
    named = kinds if isinstance(kinds, list) and len(kinds) == len(boxes) else [label] * len(boxes)
    return [(str(name), box) for name, box in zip(named, boxes, strict=True) if box is not None]


def _outlines(line: Line) -> dict[int, list[Any]]:
    """The polygons of each instance, by its number: a list an instance, or all of one."""
    given, count = line.columns.get("segmentation"), len(_instances(line))
    if not isinstance(given, list) or not given:
        return {}
    nested = all(isinstance(one, list) and one and isinstance(one[0], list) for one in given)
    if nested and len(given) == count:
        return dict(enumerate(given))
    return {0: given if isinstance(given[0], list) else [given]} if count == 1 else {}
