"""The JSON Schema agrees with the loader on what a spec may hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from sdbatch import recipes
from sdbatch.errors import SpecError
from sdbatch.spec import load
from sdbatch.spec.json_schema import json_schema
from sdbatch.spec.recipes import KEYS as RECIPES
from sdbatch.spec.schema import KEYS

GOOD: list[dict[str, Any]] = [
    {"prompt": "x", "seed": 0, "width": None, "loras": ["a"], "mask": [0, 0, 8, 8], "name": "n"},
    {"seed": {"range": [0, 4]}, "guidance_scale": {"linspace": [1, 9, 5]}, "steps": {"random": 3}},
    {"prompt": "{a}", "grid": {"a": ["x", 1, None, True], "seed": [1, 2]}, "zip": {"steps": [1, 2]}},
    {"exclude": [{"seed": 1}], "include": [{"seed": 1}], "rows": None},
    {"output": {"format": "webp", "quality": 90, "dir": "x", "save": ["mask"]}},
    {"render": {"batch_size": "auto", "threads": 4, "compile": "on", "vae_tiling": False, "oom": "fail"}},
]
BAD: list[dict[str, Any]] = [
    {"stepz": 1},
    {"steps": 0},
    {"steps": "x"},
    {"width": 12},
    {"mode": "x"},
    {"seed": [1, 2]},
    {"seed": {"rnge": [0, 4]}},
    {"seed": {"range": [0]}},
    {"grid": {"seed": 5}},
    {"grid": {"seed": []}},
    {"grid": {"seed": [-1]}},
    {"exclude": [{}]},
    {"output": {"format": "gif"}},
    {"output": {"quality": 0}},
    {"render": {"dtype": "int8"}},
    {"render": {"batch_size": 0}},
    {"render": {"nope": 0}},
    {"stages": []},
]


def test_it_is_a_schema_that_knows_every_key() -> None:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    own = {key for keys in RECIPES.values() for key in keys}
    assert set(schema["properties"]) == {*KEYS, "recipe", *own}


@pytest.mark.parametrize("data", GOOD)
def test_what_is_right(tmp_path: Path, data: dict[str, Any]) -> None:
    jsonschema.validate(data, json_schema())
    load.job_from_mapping(data, tmp_path)


@pytest.mark.parametrize("data", BAD)
def test_what_is_wrong(tmp_path: Path, data: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(data, json_schema())
    with pytest.raises(SpecError):
        load.job_from_mapping(data, tmp_path)


def test_every_job_of_the_repository_fits() -> None:
    jobs = Path(__file__).parents[2] / "jobs"
    for path in jobs.glob("*.yaml"):
        jsonschema.validate(yaml.safe_load(path.read_text(encoding="utf-8")), json_schema())
        load.job(path, expand=recipes.expand)
