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


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def put(text: str) -> Path:
        path = tmp_path / "jobs" / "job.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(text.encode())
        return path

    return put


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
    job = load.job(write("grid:\n  seed: {range: [0, 4000000000]}\n  eta: {linspace: [0.1, 0.7, 7]}\n"))
    assert job.axes[0].values == range(0, 4_000_000_000)
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


MISTAKES = """\
nam: x
stepz: 3
steps: 0
seed: [1, 2]
scheduler: eular
prompt: "{nothing:q9}"
stages: []
recipe: augment
width: 12
grid:
  seed: 5
  height: {range: [8, 100, 9]}
  steps: {rnge: [0, 1]}
  eta: []
  fit: {file: nope.txt}
  tile: {combinatorial: 1}
  model: {random: 3}
  image: {glob: "*.nothing"}
  scale: [1, .inf, x]
zip:
  steps: [1, 2]
  strength: [0.1]
output: {format: jpg, quality: 0, c2pa: 1, filname: x}
render:
  dtype: float8
  batch_size: 0
  compile: maybe
"""


def test_every_mistake_is_told_with_its_line(write: Write) -> None:
    found = told(write(MISTAKES))
    expected = {
        "nam": (1, "did you mean 'name'"),
        "stepz": (2, "did you mean 'steps'"),
        "steps": (3, "outside 1 to 1000"),
        "seed": (4, "grid:"),
        "scheduler": (5, "did you mean 'euler'"),
        "prompt": (6, "not a format"),
        "stages": (7, "not supported yet"),
        "recipe": (8, "not supported yet"),
        "width": (9, "multiple of 8"),
        "grid.seed": (11, "a list of values, or a mapping with one of range, linspace, random, file, glob"),
        "grid.height": (12, "multiple of 8"),
        "grid.steps": (13, "both zip and grid"),
        "grid.eta": (14, "at least one value"),
        "grid.fit": (15, "nope.txt cannot be read"),
        "grid.tile": (16, "not supported yet"),
        "grid.model": (17, "whole numbers"),
        "grid.image": (18, "no file matches"),
        "grid.scale[1]": (19, "finite"),
        "grid.scale[2]": (19, "not a number"),
        "zip.strength": (22, "strength has 1 values and steps has 2"),
        "output.format": (23, "jpeg"),
        "output.quality": (23, "1 to 100"),
        "output.c2pa": (23, "not supported yet"),
        "output.filname": (23, "did you mean 'filename'"),
        "render.dtype": (25, "float32"),
        "render.batch_size": (26, "1 to 1024"),
        "render.compile": (27, "on or off"),
    }
    assert found.keys() == expected.keys()
    for key, (line, part) in expected.items():
        assert found[key][0] == line, key
        assert part in found[key][1], key


def test_wrong_lines_of_a_value_file(write: Write, tmp_path: Path) -> None:
    path = write("grid: {seed: {file: seeds.txt}}\n")
    (tmp_path / "jobs/seeds.txt").write_text("1\n# two\n\n2.5\n3\nx\n")
    found = wrong(lambda: load.job(path))
    assert [(problem.file, problem.line) for problem in found] == [
        (str(tmp_path / "jobs/seeds.txt"), line) for line in (4, 6)
    ]
    (tmp_path / "jobs/seeds.txt").write_text("\n# nothing\n")
    assert "holds no value" in told(path)["grid.seed"][1]


@pytest.mark.parametrize(
    ("text", "key", "line", "part"),
    [
        ("prompt: '{colour}'\ngrid: {color: [red]}\n", "prompt", 1, "did you mean 'color'"),
        ("prompt: '{colour}'\ngrid: {color: [red]}\n", "grid.color", 2, "did you mean 'colour'"),
        ("grid:\n  sede: [1]\n", "grid.sede", 2, "did you mean 'seed'"),
        ("prompt: '{id}'\n", "prompt", 1, "output.filename only"),
        ("prompt: '{negative_prompt}'\n", "prompt", 1, "cannot be filled with a prompt"),
        ("prompt: '{base.seed}'\n", "prompt", 1, "stages"),
        ("grid:\n  prompt:\n    - cat\n    - '{what}'\n", "grid.prompt[1]", 4, "nothing provides"),
        ("output:\n  filename: '{what}'\n", "output.filename", 2, "nothing provides"),
        ("output:\n  filename: '/{id}'\n", "output.filename", 2, "relative"),
        ("output:\n  filename: 4\n", "output.filename", 2, "not a text"),
        ("prompt: '{a}'\ngrid: {a: [1]}\ninclude:\n  - {seed: 1}\n", "include[0]", 4, "does not give 'a'"),
        ("include:\n  - {sed: 1}\n", "include[0].sed", 2, "did you mean 'seed'"),
        ("include:\n  - {prompt: '{sed}'}\n", "include[0]", 2, "does not give 'sed'"),
        ("include:\n  - {seed: -1}\n", "include[0].seed", 2, "outside"),
        ("include: [7]\n", "include[0]", 1, "not a mapping"),
        ("exclude: {a: 1}\n", "exclude", 1, "not a list"),
        ("exclude: [{}]\n", "exclude[0]", 1, "not a mapping"),
        ("exclude: [{sede: 1}]\n", "exclude[0].sede", 1, "did you mean 'seed'"),
        ("prompt: '{name}'\ngrid: {name: [x]}\n", "grid.name", 2, "another name"),
        ("seed: {range: [0, 2]}\ngrid: {seed: [1]}\n", "seed", 1, "both grid and an axis at the top level"),
        ("grid: [1]\n", "grid", 1, "not a mapping"),
        ("rows: x.txt\n", "rows", 1, ".parquet"),
        ("rows: x.csv\n", "rows", 1, "cannot be read"),
        ("name: a/b\n", "name", 1, "'a_b'"),
        ("name: 7\n", "name", 1, "quotes"),
        ("prompt: {size: }\n", "prompt", 1, "quotes"),
        ("grid: {seed: {range: [3, 3]}}\n", "grid.seed", 1, "empty"),
        ("grid: {seed: {range: [0, 9, 0]}}\n", "grid.seed", 1, "step is 0"),
        ("grid: {seed: {range: [0, 1.5]}}\n", "grid.seed", 1, "whole numbers"),
        ("grid: {seed: {range: [0, 4294967297]}}\n", "grid.seed", 1, "outside"),
        ("grid: {seed: {range: [0, 4], random: 1}}\n", "grid.seed", 1, "one key"),
        ("grid: {steps: {random: 1001}}\n", "grid.steps", 1, "only 1000"),
        ("grid: {eta: {linspace: [0, 1]}}\n", "grid.eta", 1, "[start, stop, count]"),
        ("grid: {steps: {linspace: [1, 2, 3]}}\n", "grid.steps", 1, "whole number"),
        ("prompt: '{a}'\ngrid: {a: [[1]]}\n", "grid.a[0]", 2, "not a text, number"),
        ("output: {quality: 5}\n", "output.quality", 1, "lossless"),
        ("render: 7\n", "render", 1, "allowed keys: batch_size"),
        ("a: 1\na: 2\n", "a", 2, "line 1"),
        ("seed: 1\n<<: {steps: 2}\n", "", None, "merge"),
        ("1: 2\n", "", None, "quotes"),
        ("seed: !!python/name:os 1\n", "seed", 1, "tag"),
        ("seed: 123456789012345678901234567890123456789012\n", "seed", 1, "bits"),
    ],
)
def test_single_mistakes(write: Write, text: str, key: str, line: int | None, part: str) -> None:
    found = [problem for problem in wrong(lambda: load.job(write(text))) if problem.key == key]
    assert any(part in problem.message and line in (None, problem.line) for problem in found), found


@pytest.mark.parametrize(
    ("text", "line", "part"),
    [
        ("seed: 1\ngrid: [\n", 3, "not YAML"),
        ("seed: 1\n\tsteps: 2\n", 2, "not YAML"),
        ("seed: 1\r\nsteps: 2\r\ngrid: {a: [}\r\n", 3, "not YAML"),
        ("seed: 1\n--- \nsteps: 2\n", 2, "more than one"),
        ("- a\n", 1, "not a mapping"),
        ("", None, "empty"),
        ("# nothing\n", None, "empty"),
        ("seed: 1\nprompt: a\x01b\n", 2, "not YAML"),
        ("mask: " + "[" * 60 + "]" * 60, 1, "deep"),
        ("mask: &a [*a]\n", 1, "anchor"),
        ("mask: *b\n", 1, "not YAML|anchor"),
        ("mask: &a [" + "x" * 10 + "]\n" + "".join(f"k{i}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 30)}]\n" for i in range(8)), 6, "large"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_at_all(write: Write, text: str, line: int | None, part: str) -> None:
    (problem,) = wrong(lambda: load.job(write(text)))
    assert problem.line == line or part == "large"
    assert any(each in problem.message for each in part.split("|"))


def test_files_that_are_not_specs(write: Write, tmp_path: Path) -> None:
    path = write("seed: 1\n")
    for raw, line in ((b"seed: 1\nprompt: \xff\n", 2), (b"#" * (4 * 2**20 + 1), None)):
        path.write_bytes(raw)
        assert wrong(lambda: load.job(path))[0].line == line
    assert "cannot be read" in wrong(lambda: load.job(tmp_path / "none.yaml"))[0].message
    assert "cannot be read" in wrong(lambda: load.job(tmp_path))[0].message


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


def test_many_mistakes_are_cut(write: Write) -> None:
    found = wrong(lambda: load.job(write(f"grid: {{seed: {[-1] * 500}}}\n")))
    assert len(found) == 101
    assert "400 more" in found[-1].message or "400 more" in found[0].message


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
