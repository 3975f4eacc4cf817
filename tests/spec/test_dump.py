"""A spec written out as resolved means the same where it then lies."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sdbatch.spec import dump, load
from sdbatch.spec.schema import JobSpec
from sdbatch.types import Render

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
        "output: {dir: out, filename: '{color}-{id}', format: jpeg, quality: 80, save: [latents], watermark: w}\n"
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
        "mask": [0, 0, 8, 8],
        "control_image": ["photos/a.jpg", "/abs.png"],
        "loras": [{"name": "mymodel", "weight": 1}],
        "grid": {"depth_image": ["photos/a.jpg", None]},
        "include": [{"image": "photos/a.jpg", "mask": "photos/m.png", "model": "demo"}],
    }
    back = again(load.job_from_mapping(data, base), tmp_path / "runs" / "x")
    here = "../../jobs/"
    assert back.values == {
        "model": here + "mymodel",
        "vae": "org/name",
        "mask": [0, 0, 8, 8],
        "control_image": [here + "photos/a.jpg", "/abs.png"],
        "loras": [{"name": here + "mymodel", "weight": 1}],
    }
    assert [list(axis.values) for axis in back.axes] == [[here + "photos/a.jpg"], [here + "photos/a.jpg", None]]
    assert back.include == ({"image": here + "photos/a.jpg", "mask": here + "photos/m.png", "model": "demo"},)


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
