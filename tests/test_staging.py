"""A pipeline from its first stage to its last: what is made from what, what waits, and how a run goes on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import killing
import pandas as pd
import pytest
from verified import Quiet

from sdbatch import api, errors, prepare, staging
from sdbatch.report.status import Status
from sdbatch.workers import worker

Write = Callable[..., Path]
RunJob = Callable[..., "api.RunReport"]
JOB = """
model: demo
prompt: "a large {color} star"
steps: 1
grid: {color: [red, blue], seed: {range: [0, 2]}}
output: {filename: "{stage}/{id}"}
stages:
  - {name: base}
  - {name: vary, mode: img2img, input: base, prompt: "a {base.color} ring", seed: "{base.seed}",
     grid: {strength: [0.5, 1]}}
  - {name: last, mode: img2img, input: vary, strength: 0.5, when: "strength > 0.7 and color == 'red'"}
render: {threads: 1, batch_size: 4}
"""


def lines(directory: Path) -> Any:
    return pd.read_parquet(directory / "manifest").set_index("id", drop=False)


def status(directory: Path) -> Status:
    return api.status(directory)


def test_every_row_has_a_parent_and_what_it_takes_from_it(write: Write, run_job: RunJob, tmp_path: Path) -> None:
    report = run_job(write("job.yaml", JOB), tmp_path / "run")
    assert (report.rows, report.made, report.left, report.exit_code) == (14, 14, 0, 0)
    table = lines(tmp_path / "run")
    assert table.groupby("stage").size().to_dict() == {"base": 4, "vary": 8, "last": 2}
    assert table[table.stage == "base"].parent_id.isna().all()
    for _, line in table[table.stage == "vary"].iterrows():
        parent = table.loc[line.parent_id]
        assert parent.stage == "base" and line.seed == parent.seed and line.field_color == parent.field_color
        assert line.prompt == f"a {parent.field_color} ring" and line.image_sha256 == parent.file_sha256
    last = table[table.stage == "last"]
    assert (last.parent_id.map(table.strength) == 1).all() and set(last.field_color) == {"red"}
    assert set(last.prompt) == {"a large red star"} and (last.seed == 0).all(), "the top level's own values"
    assert all((tmp_path / "run" / path).is_file() for path in table.path)
    again = run_job(tmp_path / "run", tmp_path / "run")
    assert (again.rows, again.done, again.made, again.retired) == (14, 14, 0, 0)
    verified = api.verify(tmp_path / "run", Quiet())
    assert verified.counts == {"exact": 14}
    assert api.fsck(tmp_path / "run").findings == ()
    assert status(tmp_path / "run").rows == 14


def test_a_run_that_is_cut_off_goes_on_and_comes_to_the_same(write: Write, run_job: RunJob, tmp_path: Path) -> None:
    job = write("job.yaml", JOB)
    whole = run_job(job, tmp_path / "whole")
    for limit, made in ((3, 3), (6, 6), (None, 5)):
        report = run_job(job, tmp_path / "parts", limit=limit)
        assert report.made == made, report
    assert report.left == 0 and report.rows == whole.rows
    one, other = lines(tmp_path / "whole"), lines(tmp_path / "parts")
    assert one.pixel_sha256.sort_index().to_dict() == other.pixel_sha256.sort_index().to_dict()


def test_children_of_a_failed_row_wait(
    write: Write, run_job: RunJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    render = worker.Renderer.render

    def failing(self: Any, rows: Any, size: int, **how: Any) -> Any:
        if any(row.stage == "base" and row.fields["color"] == "red" and row.params["seed"] == 1 for row in rows):
            if len(rows) == 1:
                raise RuntimeError("no picture of this one")
            raise RuntimeError("one of them")
        return render(self, rows, size, **how)

    job = write("job.yaml", JOB)
    with monkeypatch.context() as patched:
        patched.setattr(worker.Renderer, "render", failing)
        report = run_job(job, tmp_path / "run")
    assert (report.made, report.failed, report.exit_code) == (10, 1, 1)
    assert report.waiting == 4 and report.left == 5, "two of vary, and two of last, of which one may be left out yet"
    found = status(tmp_path / "run")
    assert found.waiting == {"vary": 2, "last": 2} and found.failed == 1
    mended = run_job(job, tmp_path / "run")
    assert (mended.made, mended.left, mended.waiting, mended.rows) == (4, 0, 0, 14)


def test_a_childs_id_follows_from_its_parents_and_from_nothing_there(write: Write, tmp_path: Path) -> None:
    def ids(text: str) -> dict[str, list[str]]:
        job = prepare.job(write("job.yaml", text), out=tmp_path / "run")
        return {stage.name: stage.rows.column("id").to_pylist() for stage in staging.of(job)}

    first = ids(JOB)
    assert len({one for ids_ in first.values() for one in ids_}) == 4 + 8 + 8
    other = ids(JOB.replace("a large {color} star", "a small {color} star"))
    assert not {*first["vary"]} & {*other["vary"]}, "their parents are others"
    named = ids(JOB.replace('"{stage}/{id}"', '"{stage}-{id}"'))
    assert named == first, "not what they are called"
    alone = ids(JOB.replace("strength: 0.5, when", "strength: 0.6, when"))
    assert alone["vary"] == first["vary"] and not {*alone["last"]} & {*first["last"]}


def test_no_longer_asked_for(write: Write, run_job: RunJob, tmp_path: Path) -> None:
    run_job(write("job.yaml", JOB), tmp_path / "run")
    report = run_job(write("job.yaml", JOB.replace("strength > 0.7 and", "strength < 0.7 and")), tmp_path / "run")
    assert (report.rows, report.made, report.retired) == (14, 2, 2)
    assert status(tmp_path / "run").retired == 2


def test_the_best_of_each_are_known_when_all_are_there(write: Write, run_job: RunJob, tmp_path: Path) -> None:
    top = "{name: last, mode: img2img, input: vary, top: {by: strength, per: [color, seed]}}"
    text = "\n".join(line for line in JOB.splitlines() if "name: last" not in line)
    job = write("job.yaml", text.replace("render:", f"  - {top}\nrender:"))
    assert run_job(job, tmp_path / "run", limit=11).waiting == 8
    report = run_job(job, tmp_path / "run")
    assert (report.rows, report.left) == (16, 0)
    table = lines(tmp_path / "run")
    taken = table[table.stage == "last"].parent_id.map(table.strength)
    assert len(taken) == 4 and (taken == 1).all()
    job.write_text(text.replace("render:", f"  - {top.replace('strength', 'sharp')}\nrender:"))
    with pytest.raises(errors.SpecError, match="records have no 'sharp'"):
        run_job(job, tmp_path / "run")


def test_plans_show_the_tree(write: Write, tmp_path: Path, sdbatch: Callable[..., Any]) -> None:
    job = write("job.yaml", JOB)
    said = sdbatch("plan", str(job), "--out", str(tmp_path / "run"), "--json")
    found = json.loads(said.stdout)
    assert [(one["name"], one["input"], one["rows"], one["waiting"]) for one in found["stages"]] == [
        ("base", None, 4, 0), ("vary", "base", 8, 8), ("last", "vary", 8, 8),
    ]  # fmt: skip
    assert found["rows"] == 20 and {cell["stage"] for cell in found["cells"]} == {"base", "vary", "last"}
    shown = sdbatch("plan", str(job), "--out", str(tmp_path / "run")).stdout
    assert "└── last: 8 rows, 8 waiting, when strength > 0.7 and color == 'red'" in shown


def test_two_stages_cannot_write_one_file(write: Write, tmp_path: Path) -> None:
    job = write("job.yaml", JOB.replace('"{stage}/{id}"', '"{color}-{seed}-{strength}"'))
    (problem,) = api.validate(job)[:1]
    assert problem.key == "output.filename" and problem.line == 6 and "add {id}" in problem.message
    same = JOB.replace('"{stage}/{id}"', '"{color}-{seed}"')
    same = same.replace('"{base.seed}",\n     grid: {strength: [0.5, 1]}', '"{base.seed}"')
    same = "\n".join(line for line in same.splitlines() if "name: last" not in line)
    (problem,) = api.validate(write("same.yaml", same))
    assert "stages 'base' and 'vary' would both write" in problem.message and "{stage}" in problem.message


def test_a_score_is_a_line_about_another_stages_picture(write: Write, run_job: RunJob, tmp_path: Path) -> None:
    text = """
model: demo
prompt: "a large {color} star"
steps: 2
grid: {color: [red, blue], seed: {range: [0, 3]}}
stages:
  - {name: base}
  - {name: rated, mode: score, input: base}
  - {name: vary, mode: img2img, input: rated, top: {by: sharpness, per: color}, seed: "{base.seed}"}
render: {threads: 1, batch_size: 4}
"""
    report = run_job(write("job.yaml", text), tmp_path / "run")
    assert (report.rows, report.failed, report.left) == (6 + 6 + 2, 0, 0)
    table = lines(tmp_path / "run")
    rated = table[table.stage == "rated"]
    scores = rated.scores.map(json.loads)
    assert (rated.path == rated.parent_id.map(table.path)).all()
    assert (rated.pixel_sha256 == rated.parent_id.map(table.pixel_sha256)).all()
    assert len(list((tmp_path / "run" / "images").iterdir())) == 8, "a picture of each of the others"
    best = {scores[one.id]["sharpness"]: one.id for _, one in rated.iterrows()}
    for color in ("red", "blue"):
        mine = rated[rated.field_color == color]
        (child,) = table[(table.stage == "vary") & (table.field_color == color)].itertuples()
        assert child.parent_id == best[max(scores[one]["sharpness"] for one in mine.id)]
    assert api.fsck(tmp_path / "run").findings == ()
    assert api.verify(tmp_path / "run", Quiet()).counts == {"exact": 14}
    assert run_job(tmp_path / "run", tmp_path / "run").made == 0
    (problem,) = api.validate(write("alone.yaml", "mode: score\nimage: x.png\n"))
    assert problem.key == "mode" and "stage with an input" in problem.message


def test_a_picture_of_a_later_stage_is_made_again_from_the_earlier_one(
    write: Write, run_job: RunJob, tmp_path: Path
) -> None:
    run_job(write("job.yaml", JOB), tmp_path / "run")
    table = lines(tmp_path / "run")
    later = [tmp_path / "run" / path for path in table[table.stage != "base"].path]
    asked = api.read_pictures(later, api.ReplayOptions(out=tmp_path / "again"))
    report = api.replay(asked, killing.Listener())
    assert [one.result for one in report.pictures] == ["exact"] * 10
    again = lines(tmp_path / "again")
    assert set(again.id) == set(table[table.stage != "base"].id) and set(again.parent_id) < set(table.id)
    assert api.verify(tmp_path / "again", Quiet()).counts == {"exact": 10}
    gone = table[table.stage == "base"].path.iloc[0]
    (tmp_path / "run" / gone).unlink()
    with pytest.raises(errors.UsageError, match=f"image {gone} is not there"):
        api.read_pictures(later, api.ReplayOptions(out=tmp_path / "more"))
    alone = tmp_path / later[0].name
    alone.write_bytes(later[0].read_bytes())
    with pytest.raises(errors.UsageError, match="is not there"):
        api.read_pictures([alone], api.ReplayOptions(out=tmp_path / "more"))
