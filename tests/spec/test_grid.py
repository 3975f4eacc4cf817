"""Rows: crossing, order, ids. The golden ids must not change without a word in the changelog."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdbatch.errors import SpecError
from sdbatch.spec import ids, load
from sdbatch.spec.grid import Rows

HASH = "0" * 64


class Names:
    """Every name is a model; a picture's content is its name."""

    def model(self, name: str, revision: str | None) -> tuple[str, tuple[int, int], str]:
        """Models that need no files: `demo` and `other` are 64 x 64."""
        return (HASH if name == "demo" else "1" * 64), (64, 64), "sd"

    def content(self, parameter: str, value: Any) -> Any:
        return value and f"content of {value}"

    def picture_size(self, value: Any) -> tuple[int, int]:
        return (100, 50) if value else (0, 0)


def rows(job: dict[str, Any], table: pa.Table | None = None, base: Path = Path("/nowhere")) -> Rows:
    return Rows(load.job_from_mapping(job, base), table, Names())


def prompts(made: Rows) -> list[str]:
    return [row.params["prompt"] for row in made.take(range(len(made)))]


@pytest.mark.parametrize(
    ("job", "golden"),
    [
        ({}, "d0abb3631e0718e75568"),
        ({"prompt": "a red star", "seed": 7}, "7d85b55cd4e423f0e1fe"),
        (
            {"prompt": "a “quoted” étoile\n🌟", "negative_prompt": "x", "guidance_scale": 7.5, "steps": 30},
            "2635e9e12c72537f27f7",
        ),
        (
            {"width": 128, "height": 64, "scheduler": "euler", "sigmas": "karras", "clip_skip": 2, "eta": 0.25},
            "c70773199c2b814bc2ec",
        ),
        ({"model": "other", "seed": 4294967295}, "8ea9d90c2885da5ff58b"),
    ],
)
def test_golden_ids(job: dict[str, Any], golden: str) -> None:
    assert rows(job).take([0])[0].id == golden


def test_the_last_axis_is_fastest_and_zip_comes_before_grid() -> None:
    made = rows(
        {
            "prompt": "{a} {b} {c}",
            "zip": {"a": ["x", "y"], "steps": [1, 2]},
            "grid": {"b": [1, 2], "c": ["p", "q"]},
        }
    )
    assert prompts(made) == ["x 1 p", "x 1 q", "x 2 p", "x 2 q", "y 1 p", "y 1 q", "y 2 p", "y 2 q"]
    assert [row.params["steps"] for row in made.take(range(8))] == [1] * 4 + [2] * 4


def test_top_level_axes_stand_before_the_grid() -> None:
    made = rows({"prompt": "{seed} {b}", "seed": {"range": [0, 2]}, "grid": {"b": [1, 2]}})
    assert prompts(made) == ["0 1", "0 2", "1 1", "1 2"]


def test_exclude_then_include() -> None:
    made = rows(
        {
            "prompt": "{color} {shape}",
            "grid": {"color": ["red", "blue"], "shape": ["star", "ring"]},
            "exclude": [{"color": "red", "shape": "star"}],
            "include": [{"color": "red", "shape": "star", "seed": 7}],
        }
    )
    found = [row for batch in made.batches() for row in made.take(batch.column("index").to_pylist())]
    assert [row.params["prompt"] for row in found] == ["red ring", "blue star", "blue ring", "red star"]
    assert found[-1].params["seed"] == 7


def test_an_id_is_the_same_however_the_row_is_written() -> None:
    plain = rows({"prompt": "a red star", "seed": 3, "guidance_scale": 4})
    other = rows(
        {"prompt": "a {color} {x}", "grid": {"x": ["star"], "color": ["blue", "red"], "seed": [2, 3]}, "width": 64}
    )
    assert plain.take([0])[0].id in [row.id for row in other.take(range(4))]


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": "x"}, {"negative_prompt": "x"}, {"seed": 1}, {"width": 72}, {"height": 72}, {"steps": 21},
        {"guidance_scale": 4.5}, {"scheduler": "euler"}, {"scheduler": "euler", "sigmas": "karras"},
        {"eta": 0.5}, {"clip_skip": 1},
        {"model": "other"},
    ],
)  # fmt: skip
def test_every_parameter_changes_the_id(change: dict[str, Any]) -> None:
    assert rows({"prompt": "a", **change}).take([0])[0].id != rows({"prompt": "a"}).take([0])[0].id


@pytest.mark.parametrize(
    "change",
    [{"name": "other"}, {"render": {"batch_size": 2}}, {"output": {"filename": "{seed}-{id}"}}, {"width": None}],
)
def test_what_does_not_change_the_picture_does_not_change_the_id(change: dict[str, Any]) -> None:
    assert rows({"prompt": "a", **change}).take([0])[0].id == rows({"prompt": "a"}).take([0])[0].id


@given(
    st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=5, unique=True),
    st.lists(st.sampled_from(["ddim", "euler", "lms"]), min_size=1, max_size=3, unique=True),
    st.lists(st.floats(0, 20, allow_nan=False), min_size=1, max_size=3, unique=True),
)
def test_streamed_ids_are_those_of_the_plain_definition(
    seeds: list[int], schedulers: list[str], scales: list[float]
) -> None:
    made = rows({"prompt": "p", "grid": {"seed": seeds, "scheduler": schedulers, "guidance_scale": scales}})
    defaults = {"seed": 0, "scheduler": "ddim", "guidance_scale": 4.0, "prompt": ""}
    streamed = [key for batch in made.batches() for key in batch.column("id").to_pylist()]
    for row, key in zip(made.take(range(len(made))), streamed, strict=True):
        named = {name: row.params[name] for name in defaults if row.params[name] != defaults[name]}
        assert row.id == key == ids.picture_id({**named, "model": HASH})


def test_one_picture_in_two_rows_has_one_id_and_two_row_keys() -> None:
    table = pa.table({"prompt": ["a star", "a star"], "label": ["one", "two"]})
    made = Rows(load.job_from_mapping({}, Path("/nowhere")), table, Names())
    first, second = made.take([0, 1])
    assert first.id == second.id and first.row != second.row
    assert (first.fields, second.fields) == ({"label": "one"}, {"label": "two"})


def test_a_tables_prompts_are_taken_as_they_are() -> None:
    made = Rows(load.job_from_mapping({}, Path("/nowhere")), pa.table({"prompt": ["{not} a {field}"]}), Names())
    assert prompts(made) == ["{not} a {field}"]


def test_rows_by_number_are_the_streamed_ones() -> None:
    made = rows({"prompt": "{a}", "grid": {"a": list(range(50)), "seed": {"range": [0, 40]}}})
    streamed = pa.Table.from_batches(made.batches())
    picks = [1999, 0, 7, 1000, 7]
    assert [row.id for row in made.take(picks)] == [streamed.column("id")[pick].as_py() for pick in picks]
    assert [row.path for row in made.take(picks)] == [streamed.column("path")[pick].as_py() for pick in picks]


def test_batches_mix_prompts_seeds_and_guidance_but_not_sizes() -> None:
    def keys(job: dict[str, Any]) -> int:
        return len({key for batch in rows(job).batches() for key in batch.column("key").to_pylist()})

    assert keys({"prompt": "{a}", "grid": {"a": ["x", "y"], "seed": [1, 2], "guidance_scale": [2, 7]}}) == 1
    assert keys({"grid": {"guidance_scale": [1, 7]}}) == 2
    assert keys({"grid": {"width": [64, 72], "steps": [1, 2]}}) == 4


@pytest.mark.parametrize(
    ("job", "says"),
    [
        ({"strength": 0.5}, "mode txt2img has no use for it"),
        ({"loras": [7]}, "neither a name nor"),
        ({"mode": "img2img"}, "mode img2img needs it in every row"),
        ({"mode": "depth2img", "image": "a.png"}, "is of kind 'sd', which does controlnet, img2img"),
        ({"mode": "inpaint", "image": "a.png", "mask": [1, 2]}, "mask"),
        ({"scheduler": "lcm", "steps": 51}, "51 is too many for scheduler lcm; at most 50"),
        (
            {"grid": {"seed": {"range": [0, 10**6]}, "a": {"range": [0, 10**6]}}, "prompt": "{a}"},
            "at most 100,000,000",
        ),
    ],
)
def test_impossible_rows_are_said(job: dict[str, Any], says: str) -> None:
    with pytest.raises(SpecError, match=says):
        list(rows(job).batches())


def test_a_row_that_is_impossible_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(
        "prompt: a star\nsigmas: karras\ngrid:\n  seed: [1]\n  scheduler: [euler, pndm]\n", encoding="utf-8"
    )
    with pytest.raises(SpecError, match=r"job\.yaml:2: sigmas: scheduler pndm takes none; these do: deis"):
        list(Rows(load.job(path), None, Names()).batches())
    with pytest.raises(SpecError) as caught:
        list(Rows(load.job(path, ["sigmas=beta"]), None, Names()).batches())
    assert caught.value.problems[0].line is None


@pytest.mark.parametrize("sigmas", ["karras", "exponential", "beta"])
def test_samplers_with_sigmas_pass(sigmas: str) -> None:
    assert len(prompts(rows({"sigmas": sigmas, "grid": {"scheduler": ["euler", "lms"]}}))) == 2


def test_an_empty_cell_is_the_top_level_value() -> None:
    table = pa.table({"prompt": ["a {seed}", None], "seed": [None, 5], "steps": [7, None]})
    made = Rows(load.job_from_mapping({"prompt": "an {seed}", "seed": 3, "steps": 9}, Path("/nowhere")), table, Names())
    assert prompts(made) == ["a {seed}", "an 5"]
    assert [(row.params["seed"], row.params["steps"]) for row in made.take([0, 1])] == [(3, 7), (5, 9)]


def test_a_tables_prompt_leaves_the_specs_negative_prompt_a_template() -> None:
    job = {"negative_prompt": "{bad} thing", "grid": {"bad": ["ugly", "dull"]}}
    made = Rows(load.job_from_mapping(job, Path("/nowhere")), pa.table({"prompt": ["{bad}"]}), Names())
    assert [row.params["negative_prompt"] for row in made.take([0, 1])] == ["ugly thing", "dull thing"]
    assert prompts(made) == ["{bad}"] * 2
