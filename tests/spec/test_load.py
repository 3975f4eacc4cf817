"""Specs: what they mean, and that every mistake is told with its line."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sdbatch.errors import Problem, SpecError
from sdbatch.spec import load
from sdbatch.spec.schema import KEYS, Axis, JobSpec

Write = Callable[[str], Path]


def axes(job: JobSpec) -> dict[str, list[Any]]:
    return {axis.name: list(axis.values) for axis in job.axes}


def wrong(action: Callable[[], object]) -> list[Problem]:
    with pytest.raises(SpecError) as caught:
        action()
    return caught.value.problems


def told(path: Path, *overrides: str) -> dict[str, tuple[int | None, str]]:
    return {problem.key: (problem.line, problem.message) for problem in wrong(lambda: load.job(path, overrides))}


FULL = """\
name: shapes-sweep
model: demo
revision: null
prompt: "a {size} {color} {shape} on a white background"
seed: {range: [0, 3]}
guidance_scale: 4
eta: 1e-3
grid:
  color: [red, green, blue]
  shape: {file: ../shapes.txt}
  strength: {linspace: [0, 1, 5]}
zip:
  size: [small, large]
  steps: [20, 30.0]
exclude: [{color: red, shape: star, steps: 20.0}]
include: [{size: small, color: pink, shape: heart, seed: 7}]
output: {filename: "{color}/{shape}-{seed:06d}-{id}", format: webp, quality: 90}
render: {batch_size: auto, compile: on, vae_tiling: False, dtype: float32}
"""


def test_the_whole_of_a_job(write: Write, tmp_path: Path) -> None:
    (tmp_path / "shapes.txt").write_bytes("\ufeffstar\r\n\r\n# not me\r\n heart \r\n".encode())
    path = write(FULL)
    job = load.job(path)
    assert (job.name, job.path, job.base) == ("shapes-sweep", path, path.parent)
    assert job.values == {
        "model": "demo",
        "revision": None,
        "prompt": "a {size} {color} {shape} on a white background",
        "guidance_scale": 4.0,
        "eta": 0.001,
    }
    assert isinstance(job.values["guidance_scale"], float)
    assert job.axes == (
        Axis("seed", range(0, 3), {"range": [0, 3]}),
        Axis("color", ["red", "green", "blue"]),
        Axis("shape", ["star", "heart"], {"file": "../shapes.txt"}),
        Axis("strength", [0.0, 0.25, 0.5, 0.75, 1.0], {"linspace": [0, 1, 5]}),
    )
    assert job.zip == (Axis("size", ["small", "large"]), Axis("steps", [20, 30]))
    assert job.exclude == ({"color": "red", "shape": "star", "steps": 20},)
    assert job.include[0]["seed"] == 7
    assert (job.output.format, job.output.quality, job.output.dir) == ("webp", 90, None)
    assert job.render == {"batch_size": "auto", "compile": True, "vae_tiling": False, "dtype": "float32"}


def test_defaults_come_from_the_file(write: Write) -> None:
    job = load.job(str(write("\ufeffprompt: cat\r\ngrid:\r\nrows:\r\n")))
    assert (job.name, job.axes, job.rows, job.render) == ("job", (), None, {})


def test_ranges_stay_lazy_and_linspace_is_numpys(write: Write) -> None:
    job = load.job(write("grid:\n  seed: {range: [0, 14000000]}\n  eta: {linspace: [0.1, 0.7, 7]}\n"))
    assert job.axes[0].values == range(0, 14_000_000)
    assert job.axes[1].values == np.linspace(0.1, 0.7, 7).tolist()


def test_random_seeds_are_distinct_and_the_same_each_time(write: Write) -> None:
    path = write("seed: {random: 2000}\ngrid: {steps: {random: 1000}}\n")
    job = load.job(path)
    seeds, steps = axes(job)["seed"], axes(job)["steps"]
    assert len(set(seeds)) == 2000
    assert sorted(steps) == list(range(1, 1001))
    assert seeds == axes(load.job(path))["seed"]
    assert seeds[:16] == axes(load.job(path, ["seed={random: 16}"]))["seed"]
    assert seeds[:16] != axes(load.job(path, ["seed={random: 16}", "name=other"]))["seed"]
    assert seeds[:3] == [1289969565, 1882178095, 3183263383]  # held: a change makes other pictures


def test_glob_sorts_and_keeps_relative_paths(write: Write, tmp_path: Path) -> None:
    path = write("image: {glob: ../photos/**/*.jpg}\nmask: {glob: ../photos/*.jpg}\n")
    for name in ("b.jpg", "a/z.jpg", "a.txt", "c/d/e.jpg"):
        file = tmp_path / "photos" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    photos = "../photos/"
    assert axes(load.job(path)) == {
        "image": [photos + "a/z.jpg", photos + "b.jpg", photos + "c/d/e.jpg"],
        "mask": [photos + "b.jpg"],
    }


def test_json_parameters_are_whole_values(write: Write) -> None:
    job = load.job(
        write(
            "loras: [a, {name: b, weight: 0.5}]\nhypernetwork: {file: x, strength: 1}\n"
            "grid: {mask: [[0, 0, 8, 8], m.png, null]}\n"
        )
    )
    assert job.values["loras"] == ["a", {"name": "b", "weight": 0.5}]
    assert job.values["hypernetwork"] == {"file": "x", "strength": 1}
    assert axes(job) == {"mask": [[0, 0, 8, 8], "m.png", None]}


def test_yaml_1_2_scalars(write: Write) -> None:
    job = load.job(
        write('prompt: "{a}"\neta: 1e-3\nseed: 0x10\ngrid:\n  a: [on, yes, 2024-01-01, 012, 1_0, 1.5, true, ~, "1"]\n')
    )
    assert axes(job)["a"] == ["on", "yes", "2024-01-01", 12, "1_0", 1.5, True, None, "1"]
    assert job.values == {"prompt": "{a}", "eta": 0.001, "seed": 16}


def test_overrides_replace_before_validation(write: Write) -> None:
    path = write("steps: nonsense\nprompt: '{a}'\ngrid: &g {a: [1, 2]}\nrender: {threads: 1, oom: fail}\n")
    job = load.job(path, ["steps=3", "grid.a=[3]", "render.threads=auto", "output.format=webp"], model="other")
    assert job.values == {"steps": 3, "prompt": "{a}", "model": "other"}
    assert axes(job) == {"a": [3]}
    assert job.render == {"threads": "auto", "oom": "fail"}
    assert job.output.format == "webp"
    assert axes(load.job(path, ["steps=3", "prompt='{b}'", "grid={b: [7]}"])) == {"b": [7]}


def test_mistakes_of_overrides_have_no_file(write: Write) -> None:
    path = write("steps: 0\n")
    found = wrong(lambda: load.job(path, ["grid.seed=7", "stepz=1"]))
    assert [(p.file, p.line, p.key) for p in found] == [
        (str(path), 1, "steps"),
        (None, None, "stepz"),
        (None, None, "grid.seed"),
    ]
    for bad in ("x", "=1", "a..b=1", "seed=[", "seed={a: 1, a: 2}"):
        assert all(problem.file is None for problem in wrong(lambda bad=bad: load.job(path, [bad])))


def test_bare_tables_are_jobs(tmp_path: Path) -> None:
    (tmp_path / "my.grid.csv").write_text("prompt,label\ncat,x\n")
    job = load.job(tmp_path / "my.grid.csv", ["output.filename='{label}'"], model="demo")
    assert (job.name, job.rows, job.base) == ("my.grid", tmp_path / "my.grid.csv", tmp_path)
    assert job.values == {"model": "demo"}


def test_mapping(tmp_path: Path) -> None:
    job = load.job_from_mapping({"prompt": "{a}", "grid": {"a": ["x"]}}, tmp_path, "mine")
    assert (job.name, job.path, job.base, axes(job)) == ("mine", None, tmp_path, {"a": ["x"]})
    deep: list[Any] = []
    deep.append(deep)
    for data in ({"mask": deep}, {"seed": 10**5000}, {"mask": {1: 2}}, {"prompt": "\ud800"}, {"grid": {"a": object()}}):
        assert wrong(lambda data=data: load.job_from_mapping(data, tmp_path))


def test_table_columns_count_as_names(write: Write, tmp_path: Path) -> None:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "t.csv").write_text("seed,label\n1,x\n")
    job = load.job(write("rows: t.csv\nprompt: '{label}'\nexclude: [{label: y}]\n"))
    assert job.rows == tmp_path / "jobs" / "t.csv"
    assert "rows (the table) and grid" in told(write("rows: t.csv\ngrid: {seed: [1]}\n"))["grid.seed"][1]
    assert (
        "rows (the table) and zip" in told(write("rows: t.csv\nprompt: '{label}'\nzip: {label: [1]}\n"))["zip.label"][1]
    )
    assert "label" in told(write("rows: t.csv\nprompt: '{lable}'\n"))["prompt"][1]


def test_include_alone_may_give_what_templates_use(write: Write) -> None:
    assert load.job(write("prompt: '{a}'\ninclude: [{a: 1}, {a: 2}]\n")).include == ({"a": 1}, {"a": 2})


KEYWORDS = [*KEYS, "range", "linspace", "random", "file", "stages", "dir", "filename", "format", "batch_size", "a"]
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(KEYWORDS)
TREES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYWORDS), inner, max_size=3)
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from(KEYWORDS), TREES, max_size=5))
def test_any_mapping_gives_a_job_or_a_spec_error(tmp_path: Path, data: dict[str, Any]) -> None:
    with contextlib.suppress(SpecError):
        load.job_from_mapping(data, tmp_path)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.sampled_from("seed grid:[]{}\n\t-&*a!|>'\"#,?%@`0.e<") | st.characters(), max_size=80))
@example("? [a]: b")
@example("%YAML 3.0\n---\na")
@example("a: !<x> b")
@example("seed: .nan")
@example("name: .")
def test_any_text_gives_a_job_or_a_spec_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    for overrides in ((), (text,), (f"seed={text}",)):
        with contextlib.suppress(SpecError):
            load.job(path, overrides)


def test_reading_a_spec_loads_nothing_heavy() -> None:
    code = (
        "import sys, sdbatch.spec.load; print([m for m in ('pyarrow', 'numpy', 'torch', 'pandas') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
