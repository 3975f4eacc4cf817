"""anonymize: the same pictures with nobody recognisable in them, and nothing that says where they came from."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from sdbatch.errors import InputError
from sdbatch.recipes import base as common
from sdbatch.recipes import similarity
from sdbatch.recipes.anonymity import FALLBACKS, Unrecognised
from sdbatch.sources import datasets, decode, faces, hidden, temporary
from sdbatch.sources.datasets import Item
from sdbatch.sources.hidden import Hidden, Secret
from sdbatch.spec.problems import Problems, show
from sdbatch.spec.recipes import Recipe

FIND = ("faces", "boxes", "masks", "whole")
OUTSIDE = ("keep", "encode")
REPLACE = ("inpaint", "img2img", "fill", "blur", "pixelate")
PLAIN = REPLACE[2:]
FLOOR = 0.6
"""Least strength of `img2img`: below it too much of a face goes through."""
PADDING = 32
"""Pixels around what is hidden that the model sees, so that a picture keeps its own size."""
TRIES = 3
PLACES = {"input": "SDBATCH_INPUT", "key_file": "SDBATCH_KEY_FILE"}
"""Keys that a run directory does not keep, and the environment variables that give them when a run goes on."""
_DECIDED = ("mode", "masked_content", "redaction", "unmasked")
_FORBIDDEN = (*_DECIDED, "image", "mask", "seed")


def expand(
    own: Mapping[str, Any], rest: dict[str, Any], base: Path, problems: Problems
) -> tuple[dict[str, Any], Recipe | None]:
    """Rows of a data set; see `recipes.expand`."""
    before = len(problems.found)
    for name in _FORBIDDEN:
        if rest.pop(name, None) is not None:
            problems.add((name,), "is decided by recipe anonymize: find and replace say how")
    find, replace, outside = _ways(own, rest, problems)
    detector = _detector(own, problems)
    columns = own.get("keep_columns", [])
    if not isinstance(columns, list) or not all(isinstance(one, str) for one in columns):
        problems.add(("keep_columns",), f"{show(columns)} is not a list of columns")
        columns = []
    guard = _guard(own, detector, replace, problems)
    key = _key(own, base, problems)
    items = _items(own, base, problems)
    rest |= _settings(replace, outside, rest)
    if key is None or items is None or len(problems.found) > before:
        return rest, None
    try:
        table, secrets = _table(items, key, find, detector, columns)
        if replace in PLAIN:
            table = table.drop_columns(["seed"])  # nothing is drawn
    except (OSError, InputError):
        problems.add(("input",), "a picture cannot be read; which one is not told, for that would name it")
        return rest, None
    kept = {name: value for name, value in own.items() if name not in PLACES}
    kept |= {name: f"${{{name.upper()}}}" for name in PLACES}
    return rest, Recipe("anonymize", kept, table, guard, _DECIDED, Hidden(secrets))


def _ways(own: Mapping[str, Any], rest: Mapping[str, Any], problems: Problems) -> tuple[Any, Any, Any]:
    """What is hidden, how, and what becomes of the rest."""
    find, replace, outside = own.get("find", "faces"), own.get("replace", "inpaint"), own.get("outside", "keep")
    for name, value, allowed in (("find", find, FIND), ("replace", replace, REPLACE), ("outside", outside, OUTSIDE)):
        if value not in allowed:
            problems.add((name,), f"{show(value)} is not one of {', '.join(allowed)}")
    if outside == "encode" and replace in PLAIN:
        problems.add(("outside",), f"encode needs a model, and {replace} has none")
    strength = rest.get("strength", 1.0)
    if replace == "img2img" and isinstance(strength, (int, float)) and strength < FLOOR:
        problems.add(("strength",), f"{strength} is too little to hide a face; at least {FLOOR}")
    return find, replace, outside


def _settings(replace: str, outside: str, rest: Mapping[str, Any]) -> dict[str, Any]:
    """What rows have in common."""
    if replace in PLAIN:
        return {"mode": "redact", "redaction": replace}
    found: dict[str, Any] = {"mode": "inpaint", "masked_content": "fill" if replace == "inpaint" else "original"}
    found["strength"] = rest.get("strength", 1.0)
    if outside == "encode":
        return {**found, "unmasked": "encoded"}
    if not {"padding_mask_crop", "fit", "width", "height"} & rest.keys():
        found["padding_mask_crop"] = PADDING
    return found


def _detector(own: Mapping[str, Any], problems: Problems) -> dict[str, Any]:
    given = {name: own[name] for name in ("detector", "threshold", "margin") if name in own}
    unfound = own.get("unfound", "review")
    if unfound not in ("review", "keep"):
        problems.add(("unfound",), f"{show(unfound)} is not one of review, keep")
        unfound = "review"
    if wrong := faces.problem(given):
        problems.add((next((name for name in given if f" {name} " in wrong), "detector"),), wrong)
        given = {}
    return {**given, "unfound": unfound}


def _guard(own: Mapping[str, Any], detector: Mapping[str, Any], replace: Any, problems: Problems) -> Unrecognised:
    tries, fallback, likeness = own.get("tries", TRIES), own.get("fallback", "blur"), own.get("likeness")
    if not isinstance(tries, int) or isinstance(tries, bool) or not 1 <= tries <= 20:
        problems.add(("tries",), f"{show(tries)} is not a whole number from 1 to 20")
        tries = TRIES
    if fallback not in FALLBACKS:
        problems.add(("fallback",), f"{show(fallback)} is not one of {', '.join(FALLBACKS)}")
        fallback = "blur"
    model, most = None, None
    if likeness is not None:
        right = isinstance(likeness, dict) and likeness.keys() == {"clip_model", "most"}
        if not right or not isinstance(likeness["clip_model"], str) or not isinstance(likeness["most"], (int, float)):
            problems.add(("likeness",), f"{show(likeness)} is not such as {{clip_model: NAME, most: 0.7}}")
        else:
            model, most = likeness["clip_model"], float(likeness["most"])
    if own.get("new_faces", False) is not False and most is None:
        problems.add(("new_faces",), "needs likeness: without it nobody says that a face is another one")
    similarity.missing(problems, "recipe")  # what was hidden is compared with what is there now
    name, threshold, _, _ = faces.settings(dict(detector))
    return Unrecognised(name, threshold, 1 if replace in PLAIN else tries, fallback, bool(own.get("new_faces")),
                        own.get("find", "faces") == "faces", model, most)  # fmt: skip


def _given(own: Mapping[str, Any], key: str, problems: Problems) -> str | None:
    """A place, as written, or from the environment where a run directory has a blank for it."""
    given = own.get(key)
    if given == f"${{{key.upper()}}}":
        given = os.environ.get(PLACES[key])
        if not given:
            problems.add((key,), f"is not kept in a run directory; set {PLACES[key]} to it and try again")
            return None
        return os.path.abspath(given)
    if not isinstance(given, str) or not given or "\0" in given:
        problems.add((key,), f"{show(given)} is not a path")
        return None
    return given


def _key(own: Mapping[str, Any], base: Path, problems: Problems) -> bytes | None:
    given = _given(own, "key_file", problems)
    if given is None:
        return None
    try:
        key = (base / given).read_bytes()
    except OSError as error:
        problems.add(("key_file",), f"cannot be read: {error.strerror}")
        return None
    if len(key) < hidden.KEY_BYTES_MIN:
        problems.add(
            ("key_file",), f"holds {len(key)} bytes; at least {hidden.KEY_BYTES_MIN}, such as by openssl rand 32"
        )
        return None
    return key


def _items(own: Mapping[str, Any], base: Path, problems: Problems) -> list[Item] | None:
    given = _given(own, "input", problems)
    if given is None:
        return None
    try:
        return datasets.read(given, base, temporary.folder())
    except (InputError, OSError):
        problems.add(("input",), "cannot be read as a data set; what is wrong is not told, for that would name files")
        return None


def _table(
    items: Sequence[Item], key: bytes, find: str, detector: Mapping[str, Any], columns: Sequence[str]
) -> tuple[pa.Table, dict[str, Secret]]:
    secrets: dict[str, Secret] = {}
    rows: dict[str, list[Any]] = {"image": [], "mask": [], "seed": [], "parent_id": []}
    rows |= {common.named(name): [] for name in columns}
    for item in items:
        name, secret = hidden.named(key, item.path)
        secrets[name] = secret
        rows["image"].append(name)
        rows["mask"].append(json.dumps(_mask(item, find, detector, key, secrets)))
        rows["seed"].append(common.seed("anonymize", secret.digest))
        rows["parent_id"].append(secret.digest[:20])
        for column in columns:
            rows[common.named(column)].append(common.text(item.columns.get(column)))
    kinds = {"seed": pa.int64()}
    return pa.table({name: pa.array(cells, kinds.get(name, pa.string())) for name, cells in rows.items()}), secrets


def _mask(item: Item, find: str, detector: Mapping[str, Any], key: bytes, secrets: dict[str, Secret]) -> Any:
    if find == "faces":
        return {"faces": dict(detector)}
    if find == "whole":
        return [0, 0, *decode.size(item.path)]
    if find == "masks":
        named = item.columns.get("mask")
        if not isinstance(named, str) or not named:
            raise InputError("has no mask")
        name, secret = hidden.named(key, datasets.beside(item, named))
        secrets[name] = secret
        return name
    boxes = next((item.columns[name] for name in ("boxes", "bbox", "bboxes") if item.columns.get(name)), None)
    boxes = json.loads(boxes) if isinstance(boxes, str) else boxes
    if not boxes:
        raise InputError("has no boxes")
    return {"boxes": [list(box) for box in boxes]}
