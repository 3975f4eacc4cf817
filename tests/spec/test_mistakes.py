"""Every mistake in a spec is told, with its line and what is allowed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sdbatch.errors import Problem, SpecError
from sdbatch.spec import load

Write = Callable[[str], Path]


def wrong(action: Callable[[], object]) -> list[Problem]:
    with pytest.raises(SpecError) as caught:
        action()
    return caught.value.problems


def told(path: Path, *overrides: str) -> dict[str, tuple[int | None, str]]:
    return {problem.key: (problem.line, problem.message) for problem in wrong(lambda: load.job(path, overrides))}


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
safety: flagg
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
        "stages": (7, "not a list of stages"),
        "recipe": (8, "not read here"),
        "width": (9, "multiple of 8"),
        "grid.seed": (11, "a list of values, or a mapping with one of range, linspace, random, file, glob"),
        "grid.height": (12, "multiple of 8"),
        "grid.steps": (13, "both zip and grid"),
        "grid.eta": (14, "at least one value"),
        "grid.fit": (15, "nope.txt cannot be read"),
        "grid.tile": (16, "combinatorial makes texts; tile is not one"),
        "grid.model": (17, "whole numbers"),
        "grid.image": (18, "no file matches"),
        "grid.scale[1]": (19, "finite"),
        "grid.scale[2]": (19, "not a number"),
        "zip.strength": (22, "strength has 1 values and steps has 2"),
        "output.format": (23, "jpeg"),
        "output.quality": (23, "1 to 100"),
        "output.c2pa": (23, "not a mapping of cert and key to the paths of two PEM files"),
        "safety": (28, "did you mean 'flag'"),
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
        ("prompt: '{base.seed}'\n", "prompt", 1, "no stage"),
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


LAUGHS = "".join(f"k{i}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 30)}]\n" for i in range(8))
BOMB = f"mask: &a [xxxxxxxxxx]\n{LAUGHS}"


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
        (BOMB, None, "large"),
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


def test_many_mistakes_are_cut(write: Write) -> None:
    found = wrong(lambda: load.job(write(f"grid: {{seed: {[-1] * 500}}}\n")))
    assert len(found) == 101
    assert "400 more" in found[-1].message or "400 more" in found[0].message


@pytest.mark.parametrize(
    ("key", "here"), [("cfg_scale", "guidance_scale"), ("Sampler", "scheduler"), ("denoise", "strength")]
)
def test_words_of_other_tools_are_answered_with_those_of_this_one(write: Write, key: str, here: str) -> None:
    found = told(write(f"prompt: a\n{key}: 1\n"))
    assert f"did you mean {here!r}?" in found[key][1]


@pytest.mark.parametrize(
    ("name", "here"),
    [
        ("DPM++ 2M Karras", "'dpmpp_2m' with sigmas: karras"),
        ("dpm++_2m_sde_exponential", "'dpmpp_2m_sde' with sigmas: exponential"),
        ("Euler a", "'euler_a'"),
        ("PLMS", "'pndm'"),
        ("eular", "'euler'"),
    ],
)
def test_samplers_by_the_names_of_other_tools(write: Write, name: str, here: str) -> None:
    found = told(write(f"prompt: a\nscheduler: {name}\n"))
    assert found["scheduler"][1].endswith(f"did you mean {here}?")


def test_a_text_with_a_colon_wants_quotes(write: Write) -> None:
    ((_, (line, message)),) = told(write("steps: 2\nprompt: a star: big\n")).items()
    assert line == 2 and "needs quotes" in message


@pytest.mark.parametrize("seed", ["-1", "random"])
def test_who_wants_any_seed_hears_how(write: Write, seed: str) -> None:
    assert "seed: {random: N} draws" in told(write(f"prompt: a\nseed: {seed}\n"))["seed"][1]
    assert "random" not in told(write("prompt: a\nseed: -2\n"))["seed"][1]
