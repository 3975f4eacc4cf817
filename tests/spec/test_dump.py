"""A spec written out as resolved means the same where it then lies."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sdbatch.errors import SpecError
from sdbatch.spec import dump, load, tables
from sdbatch.spec.blocks import main_block
from sdbatch.spec.schema import JobSpec
from sdbatch.types import Render, Signing

RENDER = Render(8, 2, "float32", "cpu", "sdpa", False, True, "auto", "degrade")


def again(job: JobSpec, directory: Path) -> JobSpec:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "job.yaml").write_text(dump.resolved(job, RENDER, directory), "utf-8")
    return load.job(directory / "job.yaml")


def meaning(job: JobSpec) -> tuple[Any, ...]:
    axes = [[(axis.name, list(axis.values)) for axis in axes] for axes in (job.axes, job.zip)]
    return job.name, job.values, axes, job.rows, job.exclude, job.include, dataclasses.replace(job.output, dir=None)


def test_round_trip(tmp_path: Path) -> None:
    base = tmp_path / "jobs"
    base.mkdir()
    (base / "shapes.txt").write_text("star\nheart\n1\n")
    (base / "t.csv").write_text("label\nx\n")
    (base / "job.yaml").write_text(
        'prompt: "a {color} {shape} {label}"\nseed: {random: 5}\neta: {linspace: [0, 1, 3]}\n'
        "rows: t.csv\nloras: [[a], {name: b, weight: 1.0}]\noutpaint: {left: 8}\nscale: null\n"
        "grid: {color: [red, 'on', '1e-3', '012', null, 1.5, true, '', 'a: b'], shape: {file: shapes.txt}, "
        "steps: {range: [1, 9]}}\n"
        "exclude: [{color: red}]\ninclude: [{color: x, shape: y, label: z}]\n"
        "output: {dir: out, filename: '{color}-{id}', format: jpeg, quality: 80, save: [depth], watermark: w}\n"
        "safety: drop\n"
        "render: {batch_size: auto}\n"
    )
    job = load.job(base / "job.yaml")
    back = again(job, tmp_path / "runs" / "x")
    assert meaning(back) == meaning(job)
    assert back.output.dir == "."
    assert back.render == dataclasses.asdict(RENDER)
    assert [axis.source for axis in back.axes] == [
        None, {"linspace": [0, 1, 3]}, None, None, {"range": [1, 9]},
    ]  # fmt: skip
    text = (tmp_path / "runs/x/job.yaml").read_text()
    assert meaning(again(back, tmp_path / "runs" / "x")) == meaning(job)
    assert (tmp_path / "runs/x/job.yaml").read_text() == text


def test_certificate_and_key_are_found_from_the_new_directory(tmp_path: Path) -> None:
    data = {"prompt": "x", "output": {"c2pa": {"cert": "keys/chain.pem", "key": "/abs/key.pem"}}}
    back = again(load.job_from_mapping(data, tmp_path / "jobs"), tmp_path / "runs" / "x")
    assert back.output.c2pa == Signing("../../jobs/keys/chain.pem", "/abs/key.pem")


def test_paths_are_valid_from_the_new_directory(tmp_path: Path) -> None:
    base = tmp_path / "jobs"
    (base / "photos").mkdir(parents=True)
    (base / "demo").mkdir()
    (base / "mymodel").mkdir()
    (base / "photos" / "a.jpg").touch()
    data = {
        "model": "mymodel",
        "vae": "org/name",
        "image": {"glob": "photos/*"},
        "control_image": ["photos/a.jpg", "/abs.png"],
        "loras": [{"name": "mymodel", "weight": 1}],
        "grid": {"depth_image": ["photos/a.jpg", None], "mask": MASKS},
        "include": [{"image": "photos/a.jpg", "mask": "photos/m.png", "model": "demo"}],
    }
    back = again(load.job_from_mapping(data, base), tmp_path / "runs" / "x")
    here = "../../jobs/"
    assert back.values == {
        "model": here + "mymodel",
        "vae": "org/name",
        "control_image": [here + "photos/a.jpg", "/abs.png"],
        "loras": [{"name": here + "mymodel", "weight": 1}],
    }
    assert [list(axis.values) for axis in back.axes] == [
        [here + "photos/a.jpg"],
        [here + "photos/a.jpg", None],
        [here + "photos/m.png", {"invert": here + "photos/m.png"}, *MASKS[2:]],
    ]
    assert back.include == ({"image": here + "photos/a.jpg", "mask": here + "photos/m.png", "model": "demo"},)


MASKS: list[Any] = [
    "photos/m.png", {"invert": "photos/m.png"}, "/abs.png", "alpha", {"alpha": True}, [0, 0, 8, 8],
    {"color": "#00ff00", "tolerance": 3}, {"invert": "alpha"}, {"invert": {"color": "#000000"}}, None,
]  # fmt: skip


@pytest.mark.parametrize("name", ["image", "mask", "control_image", "depth_image"])
@pytest.mark.parametrize("where", ["top", "grid", "zip"])
def test_a_glob_of_pictures_becomes_their_paths(name: str, where: str, tmp_path: Path) -> None:
    base = tmp_path / "jobs"
    for path in ("b/x.jpg", "a/y.jpg", "a/z.png", "a.jpg/no"):
        (base / "photos" / path).parent.mkdir(parents=True, exist_ok=True)
        (base / "photos" / path).touch()
    axis = {name: {"glob": "photos/**/*.jpg"}}
    job = load.job_from_mapping(axis if where == "top" else {where: axis}, base)
    axes = (*job.axes, *job.zip)
    assert [list(axis.values) for axis in axes] == [["photos/a/y.jpg", "photos/b/x.jpg"]]
    back = again(job, tmp_path / "runs" / "x")
    moved = ["../../jobs/photos/a/y.jpg", "../../jobs/photos/b/x.jpg"]
    assert [list(axis.values) for axis in (*back.axes, *back.zip)] == [moved]


TABLE = {
    "image": ["p/a.png", "/abs/b.png", None, "./p//d.png"],
    "mask": ["p/m.png", "[0, 0, 8, 8]", '{"invert": "p/m.png"}', "alpha"],
    "control_image": ['["p/a.png", "/abs/b.png"]', "p/a.png", None, "p/a.png"],
    "depth_image": ["p/a.png"] * 4,
    "model": ["mine", "demo", "org/name", "mine"],
    "vae": ["mine", "mine", "no", None],
    "p": ["p/a.png"] * 4,
}


def cells(job: JobSpec) -> dict[str, list[Any]]:
    """The values that the rows of a job's table have."""
    assert job.rows is not None
    block = main_block(job, tables.read(job.rows, "table"))
    columns = block.columns(np.arange(block.size))
    return {name: [column.at(row) for row in range(block.size)] for name, column in columns.items()}


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_paths_in_a_table_start_from_the_spec_wherever_it_is_dumped(suffix: str, tmp_path: Path) -> None:
    base, folder = tmp_path / "jobs", tmp_path / "tables"
    (base / "mine").mkdir(parents=True)
    folder.mkdir()
    frame = pd.DataFrame(TABLE)
    if suffix == ".csv":
        frame.to_csv(folder / "t.csv", index=False)
    elif suffix == ".jsonl":
        frame = frame.map(lambda cell: json.loads(cell) if str(cell)[0] in "[{" else cell)  # no texts of JSON here
        frame.to_json(folder / "t.jsonl", orient="records", lines=True)
    else:
        frame.to_parquet(folder / "t.parquet")
    job = load.job_from_mapping({"rows": f"../tables/t{suffix}", "image": "p/top.png"}, base)
    first = cells(job)
    assert first["image"] == ["p/a.png", "/abs/b.png", "p/top.png", "./p//d.png"]
    back = again(job, tmp_path / "runs" / "deep" / "x")
    here = "../../../jobs/"
    assert cells(back) == {
        "image": [here + "p/a.png", "/abs/b.png", here + "p/top.png", here + "p/d.png"],
        "mask": [here + "p/m.png", [0, 0, 8, 8], {"invert": here + "p/m.png"}, "alpha"],
        "control_image": [[here + "p/a.png", "/abs/b.png"], here + "p/a.png", None, here + "p/a.png"],
        "depth_image": [here + "p/a.png"] * 4,
        "model": [here + "mine", "demo", "org/name", here + "mine"],
        "vae": [here + "mine", here + "mine", "no", None],
        "p": ["p/a.png"] * 4,
    }
    text = (tmp_path / "runs/deep/x/job.yaml").read_text()
    assert f"rows_base: {here[:-1]}\n" in text
    cells(again(back, tmp_path / "runs/deep/x"))
    assert (tmp_path / "runs/deep/x/job.yaml").read_text() == text
    assert cells(again(back, base)) == {**first, "image": [*first["image"][:3], "./p//d.png"]}
    assert "rows_base" not in (base / "job.yaml").read_text()


def test_the_folder_of_cells_needs_a_table(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("image\na.png\n")
    job = load.job_from_mapping({"rows": "t.csv", "rows_base": "pictures"}, tmp_path)
    assert cells(job)["image"] == ["pictures/a.png"]
    for wrong, said in (
        ({"rows_base": "x"}, "no rows:"),
        ({"rows": "t.csv", "rows_base": 3}, "not the path of a fold"),
    ):
        with pytest.raises(SpecError, match=said):
            load.job_from_mapping(wrong, tmp_path)


TEXTS = st.text(max_size=30) | st.sampled_from(["yes", "1e3", ".5", "0o7", "<<", "=", "~", "null", "- a", "#", "a #b"])
FREE = (
    TEXTS | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False) | st.booleans() | st.none()
)
JSON = st.recursive(FREE, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3))


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(FREE, min_size=1, max_size=5), JSON, TEXTS)
def test_any_value_survives(tmp_path: Path, values: list[Any], tree: Any, prompt: str) -> None:
    prompt = prompt.replace("{", "{{").replace("}", "}}") + "{a}"
    data = {"prompt": prompt, "grid": {"a": values, "accelerate": [tree]}}
    job = load.job_from_mapping(data, tmp_path)
    back = again(job, tmp_path / "run")
    assert meaning(back) == meaning(job)
    assert str(meaning(back)) == str(meaning(job))  # 1 is not 1.0, nor true
