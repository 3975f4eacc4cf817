"""`stages:` → a spec a stage: what each has from the top level and from the rows above it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from sdbatch.errors import SpecError
from sdbatch.spec import dump, load
from sdbatch.spec.schema import JobSpec, Top
from sdbatch.types import Render

Write = Callable[..., Path]
HEAD = {
    "prompt": "a {color} star",
    "steps": 5,
    "strength": 0.4,
    "grid": {"color": ["red", "blue"], "seed": {"range": [0, 3]}},
    "output": {"format": "webp", "filename": "{stage}/{id}"},
}
BASE, VARY = {"name": "base"}, {"name": "vary", "mode": "img2img", "input": "base"}


def job(*stages: dict[str, Any], **more: Any) -> JobSpec:
    return load.job_from_mapping({**HEAD, **more, "stages": list(stages)}, Path("/nowhere"))


def test_the_top_level_is_every_stages_default_but_its_rows_are_the_firsts() -> None:
    first = job(BASE, {**VARY, "steps": 7, "output": {"format": "png"}}, name="both")
    (second,) = first.later
    assert (first.stage.name, first.stage.input, second.stage.name, second.stage.input) == (
        "base",
        None,
        "vary",
        "base",
    )
    assert [axis.name for axis in first.axes] == ["color", "seed"] and not second.axes
    assert first.values["steps"] == 5 and second.values["steps"] == 7
    assert "strength" not in first.values, "txt2img has no use for it"
    assert second.values["strength"] == 0.4 and second.values["prompt"] == "a {color} star"
    assert second.output.format == "png" and second.output.filename == "{stage}/{id}", "output: is merged key by key"
    assert first.name == second.name == "both"


def test_values_are_taken_from_rows_above() -> None:
    taken = {"seed": "{base.seed}", "prompt": "{base.prompt}"}
    first = job(BASE, {**VARY, **taken}, {"name": "again", "mode": "img2img", "input": "vary", "seed": "{base.seed}"})
    assert first.later[0].stage.taken == {"seed": ("base", "seed"), "prompt": ("base", "prompt")}
    assert "seed" not in first.later[0].values and first.later[1].stage.taken == {"seed": ("base", "seed")}


def test_selections() -> None:
    top = {"by": "sharpness", "per": "prompt", "n": 3, "distinct": 6}
    first = job(BASE, {**VARY, "when": "seed < 2 and color == 'red'", "top": top})
    assert first.later[0].stage.when == "seed < 2 and color == 'red'"
    assert first.later[0].stage.top == Top("sharpness", ("prompt",), 3, 6)


@pytest.mark.parametrize(
    ("stages", "key", "line", "part"),
    [
        ("[]", "stages", 2, "not a list of stages"),
        ("[{mode: txt2img}]", "stages[0].name", 2, "not a name"),
        ("[{name: a}, {name: A}]", "stages[1].name", 2, "the name of two stages"),
        ("[{name: a, stepz: 4}]", "stages[0].stepz", 2, "did you mean 'steps'"),
        ("[{name: a, render: {threads: 1}}]", "stages[0].render", 2, "top level"),
        ("[{name: a, output: {dir: x}}]", "stages[0].output.dir", 2, "one run directory"),
        ("[{name: a, input: b}]", "stages[0].input", 2, "none before the first"),
        ("[{name: base}, {name: b, mode: img2img, input: bas}]", "stages[1].input", 2, "did you mean 'base'"),
        ("[{name: a}, {name: b, input: a}]", "stages[1].input", 2, "takes no picture"),
        ("[{name: a}, {name: b, mode: img2img, input: a, image: x.png}]", "stages[1].image", 2, "leave it out"),
        ("[{name: a}, {name: b, mode: img2img, input: a, rows: x.csv}]", "stages[1].rows", 2, "made from those of 'a'"),
        ("[{name: a}, {name: b, mode: img2img, input: a, grid: {mode: [img2img]}}]", "stages[1].mode", 2, "one value"),
        ("[{name: a}, {name: b, mode: img2img, input: a, seed: '{c.seed}'}]", "stages[1].seed", 2, "no stage 'c'"),
        ("[{name: a}, {name: b, mode: img2img, input: a, seed: '{a.sede}'}]", "stages[1].seed", 2, "mean 'seed'"),
        ("[{name: a}, {name: b, mode: img2img, input: a, seed: '{a.prompt}'}]", "stages[1].seed", 2, "is no int"),
        ("[{name: a}, {name: b, mode: img2img, input: a, prompt: 'x {a.sed}'}]", "stages[1].prompt", 2, "mean 'seed'"),
        (
            "[{name: a}, {name: b, mode: img2img, input: a, prompt: 'x {d.seed}'}]",
            "stages[1].prompt",
            2,
            "no stage 'd'",
        ),
        ("[{name: a}, {name: b, mode: img2img, input: a, when: 'seed <'}]", "stages[1].when", 2, ""),
        ("[{name: a, when: 'seed < 4'}]", "stages[0].when", 2, "no input"),
        ("[{name: a}, {name: b, mode: img2img, input: a, top: 3}]", "stages[1].top", 2, "such as"),
        ("[{name: a}, {name: b, mode: img2img, input: a, top: {by: x, m: 3}}]", "stages[1].top.m", 2, "allowed"),
        ("[{name: a}, {name: b, mode: img2img, input: a, top: {by: x, n: 0}}]", "stages[1].top.n", 2, "at least 1"),
        ("[{name: a, grid: {what: [1]}}]", "stages[0].grid.what", 2, "neither a parameter"),
        ("[{name: a}]\nscale: 2", "scale", 3, "no stage has a use for it"),
        ("[{name: a}, {name: b}]\nsteps: 0", "steps", 3, "outside"),
    ],
)
def test_mistakes(write: Write, stages: str, key: str, line: int, part: str) -> None:
    with pytest.raises(SpecError) as caught:
        load.job(write(f"prompt: a star\nstages: {stages}\n"))
    found = [problem for problem in caught.value.problems if problem.key == key]
    assert len(found) == 1, caught.value.problems
    assert found[0].line == line and part in found[0].message, found


def test_a_value_of_one_stage_is_replaced_by_name_or_number(write: Write) -> None:
    path = write(yaml.safe_dump({**HEAD, "stages": [BASE, VARY]}))
    assert load.job(path, ["stages.vary.steps=9"]).later[0].values["steps"] == 9
    assert load.job(path, ["stages.1.grid.strength=[0.1, 0.2]"]).later[0].axes[0].values == [0.1, 0.2]
    for wrong in ("stages.vari.steps=9", "stages.vary=9", "stages.7.steps=9"):
        with pytest.raises(SpecError, match=r"stages\.vary\.KEY"):
            load.job(path, [wrong])


def test_what_a_directory_keeps_means_the_same(tmp_path: Path) -> None:
    render = Render(8, 1, "float32", "cpu", "sdpa", False, False, "auto", "degrade")
    more = {"seed": "{base.seed}", "when": "seed < 2", "top": {"by": "seed", "per": ["color"], "n": 2}}
    first = job(BASE, {**VARY, **more, "grid": {"strength": [0.2, 0.4]}}, name="kept")
    (tmp_path / "job.yaml").write_text(dump.resolved(first, render, tmp_path))
    again = load.job(tmp_path / "job.yaml")
    for one, other in zip((first, *first.later), (again, *again.later), strict=True):
        assert (one.name, one.stage, one.values, one.axes, one.exclude) == (
            other.name, other.stage, other.values, other.axes, other.exclude,
        )  # fmt: skip
        assert (one.output.filename, one.output.format) == (other.output.filename, other.output.format)
