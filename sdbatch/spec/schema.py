"""What a job spec holds: the frozen result of reading one, and the keys and values it may have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sdbatch.parameters import PARAMETERS, Kind, Parameter
from sdbatch.types import Output

SECTIONS = (
    "name", "rows", "rows_base", "links_within", "wildcards", "fine_tunes", "grid", "zip", "exclude", "include",
    "output", "safety", "render",
)  # fmt: skip
LATER_SECTIONS = ("stages", "recipe")
KEYS = (*SECTIONS, *PARAMETERS)
"""Every top-level key of this version."""

FORMS = ("range", "linspace", "random", "file", "glob", "combinatorial", "from")
"""The ways to write an axis other than as a list."""

ROWS_MAX = 100_000_000
"""Most rows of a job; a plan of so many takes about 1 GB of memory, and 4 GB of temporary files."""
TABLES = (".parquet", ".csv", ".jsonl")
FORMATS = ("png", "webp", "jpeg")
OUTPUT_KEYS = ("dir", "filename", "format", "quality", "save", "watermark", "c2pa")
SIGNING_KEYS = ("cert", "key")
SAVED = ("depth", "control", "mask")
"""What `output.save` writes beside a picture, where its mode has one."""
SAFETY = ("off", "flag", "drop")
"""What the verdict of a model's own safety checker does: nothing, a note in the manifest, or a failed row."""
FILE_FIELDS = ("id", "row", "stage", "name")
"""Fields that only output.filename has."""
DIR_FIELDS = ("date", "name")
"""Fields of output.dir."""
TEMPLATES = ("prompt", "negative_prompt")
"""Parameters that are templates."""


@dataclass(frozen=True)
class Axis:
    """Values that a row takes in turn.

    Attributes:
        name: a parameter, or a free name that a template uses.
        values: in order, in the parameter's own type; a Python range stays one. Free values are
            str, int, float, bool or None.
        source: the mapping it was written as, such as {"range": [0, 4]}; None for a list.
    """

    name: str
    values: Sequence[Any]
    source: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class JobSpec:
    """A job as its user wrote it, checked.

    Attributes:
        name: the job's name; fit for a directory's.
        path: the spec file, absolute (for a bare table, the table); None for a job made of a mapping.
        base: absolute directory that relative paths start from.
        values: top-level constants that were given, in the parameter's own type.
        axes: crossed axes: the top level's, then grid's, in the order written; the last is fastest.
        zip: axes of one length that advance together.
        rows: absolute path of the table.
        rows_base: absolute directory that paths in the table's cells start from; None is `base`.
        links_within: absolute directory of the spec that the names of inputs were first written in, for links in
            them; see `files.reached`. None is `base`.
        wildcards: absolute path of the folder of wildcard files: as given, else `wildcards/` beside the spec, if there.
        fine_tunes: absolute path of the folder beside whose `loras/` and the like names are looked for; None is `base`.
        exclude: a row that agrees with all of an entry is dropped.
        include: whole rows over `values`, added after exclude.
        output: what is written.
        render: the keys of `render:` that were given; `auto` stays.
        lines: line of each key in the file, by dotted path, for what is found wrong only when rows are made.
    """

    name: str
    path: Path | None
    base: Path
    values: Mapping[str, Any]
    axes: tuple[Axis, ...] = ()
    zip: tuple[Axis, ...] = ()
    rows: Path | None = None
    rows_base: Path | None = None
    links_within: Path | None = None
    wildcards: Path | None = None
    fine_tunes: Path | None = None
    exclude: tuple[Mapping[str, Any], ...] = ()
    include: tuple[Mapping[str, Any], ...] = ()
    output: Output = field(default_factory=Output)
    render: Mapping[str, Any] = field(default_factory=dict)
    lines: Mapping[str, int] = field(default_factory=dict, compare=False, repr=False)

    @property
    def cells_base(self) -> Path:
        """Where paths in the table's cells start."""
        return self.rows_base or self.base

    @property
    def links_base(self) -> Path:
        """The folder within which links in inputs are followed."""
        return self.links_within or self.base

    @property
    def names_base(self) -> Path:
        """Where `loras/`, `embeddings/` and `hypernetworks/` are looked for, and one folder up."""
        return self.fine_tunes or self.base


@dataclass(frozen=True)
class Setting:
    """What a key of `render:` may be.

    Attributes:
        choices: allowed texts.
        low, high: bounds, where a whole number is allowed too.
        switch: whether it is on or off.
    """

    about: str
    choices: tuple[str, ...] = ()
    low: int | None = None
    high: int | None = None
    switch: bool = False


RENDER: dict[str, Setting] = {
    "batch_size": Setting("pictures a pipeline call; every batch is padded to it", ("auto",), 1, 1024),
    "threads": Setting("CPU threads; auto is the physical cores", ("auto",), 1, 1024),
    "dtype": Setting("number format of the weights", ("auto", "float32", "float16", "bfloat16")),
    "device": Setting("kind of device", ("auto", "cpu", "cuda", "mps")),
    "attention": Setting("how attention is computed", ("auto", "sdpa", "eager", "sliced")),
    "compile": Setting("whether the network is compiled", switch=True),
    "vae_tiling": Setting("whether pictures are decoded in tiles", switch=True),
    "vram": Setting("low keeps only the part in use on the device", ("auto", "low")),
    "oom": Setting("when memory runs out: degrade, or let the rows fail", ("degrade", "fail")),
}
SWITCH = {"on": True, "yes": True, "true": True, "off": False, "no": False, "false": False}


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
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "sdbatch job spec",
        "type": "object",
        "additionalProperties": False,
        "properties": {
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
            **{name: _top_level(parameter) for name, parameter in PARAMETERS.items()},
        },
        "$defs": {
            **{name: _value(parameter) for name, parameter in PARAMETERS.items()},
            **{f"axis_{name}": _axis(parameter) for name, parameter in PARAMETERS.items()},
            "free_value": {"type": ["string", "number", "boolean", "null"]},
            "free_axis": {"anyOf": [_list({"$ref": "#/$defs/free_value"}), *_forms(None)]},
        },
    }


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
