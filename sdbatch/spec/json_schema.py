"""The spec's JSON Schema (draft 2020-12), for editors; made from the tables of `schema` and `parameters`."""

from __future__ import annotations

from typing import Any

from sdbatch.parameters import PARAMETERS, Kind, Parameter
from sdbatch.spec.recipes import KEYS as RECIPES
from sdbatch.spec.schema import FORMATS, HOOKS, RENDER, SAFETY, SAVED, SIGNING_KEYS, STAGES_MAX, SWITCH, WHOLE


def json_schema() -> dict[str, Any]:
    """The spec's JSON Schema (draft 2020-12), for editors; made from the tables above."""
    axes = {name: {"$ref": f"#/$defs/axis_{name}"} for name in PARAMETERS}
    free = {"$ref": "#/$defs/free_axis"}
    entry = {
        "type": "object",
        "minProperties": 1,
        "properties": {name: {"$ref": f"#/$defs/{name}"} for name in PARAMETERS},
        "additionalProperties": {"$ref": "#/$defs/free_value"},
    }
    crossed = {"type": ["object", "null"], "properties": axes, "additionalProperties": free}
    keys = _keys(crossed, entry)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "sdbatch job spec",
        "type": "object",
        "additionalProperties": False,
        "properties": {**keys, "stages": _stages(keys)},
        "$defs": {
            **{name: _value(parameter) for name, parameter in PARAMETERS.items()},
            **{f"axis_{name}": _axis(parameter) for name, parameter in PARAMETERS.items()},
            "free_value": {"type": ["string", "number", "boolean", "null"]},
            "free_axis": {"anyOf": [_list({"$ref": "#/$defs/free_value"}), *_forms(None)]},
        },
    }


def _keys(crossed: dict[str, Any], entry: dict[str, Any]) -> dict[str, Any]:
    """Every key of the top level but `stages`."""
    return {
        "recipe": {"enum": list(RECIPES), "description": "in place of mode: rows of a data set, see docs"},
        **{key: dict(kind) for own in RECIPES.values() for key, kind in own.items()},
        "name": {"type": ["string", "null"], "description": "the job's name; by default the file's stem"},
        "rows": {"type": ["string", "null"], "description": "a table: .parquet, .csv or .jsonl"},
        "rows_base": {
            "type": ["string", "null"],
            "description": "the folder that paths in the table's cells start from; by default the spec's own",
        },
        "links_within": {
            "type": ["string", "null"],
            "description": "the folder that links in inputs may not lead out of; by default the spec's own",
        },
        "parents": {
            "type": ["string", "null"],
            "description": "the run directory with the pictures of earlier stages that rows name; by default the job's",
        },
        "wildcards": {
            "type": ["string", "null"],
            "description": "the folder of wildcard files; by default wildcards/ beside the spec",
        },
        "fine_tunes": {
            "type": ["string", "null"],
            "description": "the folder that loras/ and the like lie in; by default the spec's own",
        },
        "grid": {**crossed, "description": "axes, each crossed with every other, the last fastest"},
        "zip": {**crossed, "description": "axes of one length that advance together"},
        "exclude": {"type": ["array", "null"], "items": entry, "description": "drops rows that match an entry"},
        "include": {"type": ["array", "null"], "items": entry, "description": "adds whole rows, after exclude"},
        "output": _output(),
        "safety": {"enum": [*SAFETY, None], "default": "off", "description": "the model's own safety checker"},
        "render": _render(),
        **{name: _hook(about) for name, about in zip(HOOKS, ("each run", "a run with failures"), strict=True)},
        **{name: _top_level(parameter) for name, parameter in PARAMETERS.items()},
    }


def _stages(keys: dict[str, Any]) -> dict[str, Any]:
    """The stages: the keys of the top level, but for those of the whole job, and their own."""
    own: dict[str, Any] = {name: value for name, value in keys.items() if name not in WHOLE}
    taken = {"type": "string", "pattern": r"^\{\w+\.\w+\}$"}
    own |= {name: {"anyOf": [own[name], taken]} for name in PARAMETERS if name not in ("mode", "model", "revision")}
    own["name"] = {"type": "string", "pattern": r"^[^\W\d]\w{0,63}$", "description": "what fields call the stage"}
    own["input"] = {"type": "string", "description": "the earlier stage whose pictures it is made from"}
    own["when"] = {"type": "string", "description": "only rows of the input for which this holds"}
    own["top"] = {
        "description": "only the best rows of the input",
        "type": "object",
        "properties": {
            "by": {"type": "string", "description": "a score, a parameter or a free column; the greatest first"},
            "per": {"anyOf": [{"type": "string"}, _list({"type": "string"})], "description": "so many of each value"},
            "n": {"type": "integer", "minimum": 1, "default": 1},
            "distinct": {"type": "integer", "minimum": 0, "description": "bits that perceptual hashes differ by"},
        },
        "required": ["by"],
        "additionalProperties": False,
    }
    stage = {"type": "object", "properties": own, "required": ["name"], "additionalProperties": False}
    return {"description": "steps of a pipeline, in order", **_list(stage, 1, STAGES_MAX), "type": ["array", "null"]}


def _value(parameter: Parameter) -> dict[str, Any]:
    schema: dict[str, Any] = {"description": parameter.about, "default": parameter.default}
    if parameter.kind == "json":
        return schema
    kinds: dict[Kind, str] = {"text": "string", "int": "integer", "float": "number"}
    nullable = parameter.nullable or parameter.default is None
    schema["type"] = [kinds[parameter.kind], "null"] if nullable else kinds[parameter.kind]
    if parameter.choices:
        schema["enum"] = [*parameter.choices, None] if nullable else [*parameter.choices]
    bounds = {"minimum": parameter.low, "maximum": parameter.high}
    schema |= {key: bound for key, bound in bounds.items() if bound is not None}
    if parameter.multiple > 1:
        schema["multipleOf"] = parameter.multiple
    return schema


def _top_level(parameter: Parameter) -> dict[str, Any]:
    value = {"$ref": f"#/$defs/{parameter.name}"}
    if parameter.kind == "json":  # any value; a mapping that is an axis form is read as one
        return {"description": parameter.about, **value}
    return {"description": parameter.about, "anyOf": [value, *_forms(parameter.kind)]}


def _axis(parameter: Parameter) -> dict[str, Any]:
    values = _list({"$ref": f"#/$defs/{parameter.name}"})
    return {"description": parameter.about, "anyOf": [values, *_forms(parameter.kind)]}


def _list(items: dict[str, Any], low: int = 1, high: int | None = None) -> dict[str, Any]:
    return {"type": "array", "items": items, "minItems": low, **({"maxItems": high} if high else {})}


def _forms(kind: Kind | None) -> list[dict[str, Any]]:
    """The mappings that are an axis, for a kind of parameter (None: a free name)."""
    forms = {
        "range": _list({"type": "integer"}, 2, 3),
        "linspace": {
            **_list({"type": "number"}, 3, 3),
            "prefixItems": [{"type": "number"}, {"type": "number"}, {"type": "integer", "minimum": 1}],
        },
        "random": {"type": "integer", "minimum": 1},
        "from": {"const": "date"},
        "file": {"type": "string"},
        "glob": {"type": "string"},
        "combinatorial": {"type": "string"},
    }
    fits: dict[Kind | None, tuple[str, ...]] = {
        "text": ("file", "glob", "combinatorial"),
        "int": ("range", "linspace", "random", "file", "from"),
        "float": ("range", "linspace", "file"),
        "json": ("range", "linspace", "file", "glob"),
        None: tuple(forms),
    }
    return [
        {"type": "object", "properties": {form: forms[form]}, "required": [form], "additionalProperties": False}
        for form in fits[kind]
    ]


def _output() -> dict[str, Any]:
    keys = {
        "dir": {
            "type": ["string", "null"],
            "description": "the run directory, relative to the spec; {date} and {name} are filled in",
        },
        "filename": {"type": "string", "default": "{id}", "description": "template of a name without extension"},
        "format": {"enum": list(FORMATS), "default": "png"},
        "quality": {"type": ["integer", "null"], "minimum": 1, "maximum": 100},
        "save": {"type": ["array", "null"], "items": {"enum": list(SAVED)}},
        "watermark": {"type": ["string", "null"], "description": "a text to hide in each picture"},
        "c2pa": {
            "type": ["object", "null"],
            "description": "certificate chain and private key, PEM files, that sign each picture",
            "properties": {name: {"type": "string"} for name in SIGNING_KEYS},
            "required": list(SIGNING_KEYS),
            "additionalProperties": False,
        },
    }
    return {"type": ["object", "null"], "properties": keys, "additionalProperties": False}


def _hook(about: str) -> dict[str, Any]:
    return {
        "description": f"what is told how {about} ended: a command, or an address that JSON is posted to",
        "anyOf": [{"type": ["string", "null"]}, _list({"type": "string"})],
    }


def _render() -> dict[str, Any]:
    keys = {}
    for name, setting in RENDER.items():
        allowed: list[dict[str, Any]] = []
        if setting.switch:
            allowed = [{"type": "boolean"}, {"enum": list(SWITCH)}]
        if setting.choices:
            allowed.append({"enum": list(setting.choices)})
        if setting.low is not None:
            allowed.append({"type": "integer", "minimum": setting.low, "maximum": setting.high})
        keys[name] = {"description": setting.about, "anyOf": allowed}
    return {"type": ["object", "null"], "properties": keys, "additionalProperties": False}
