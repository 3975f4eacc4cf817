"""recipe: augment, from a labelled folder to pictures that carry its labels."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import labelled
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from verified import Quiet

from sdbatch import api
from sdbatch.errors import SpecError
from sdbatch.recipes import base
from sdbatch.recipes.similarity import Similarity, structural
from sdbatch.store.directory import RunDirectory

Write = Callable[..., Path]
RunJob = Callable[..., "api.RunReport"]
JOB: dict[str, Any] = {
    "recipe": "augment", "input": "../set", "variations": 2, "prompt": "a {label}", "strength": 0.4, "steps": 2,
    "render": {"threads": 1, "batch_size": 3},
}  # fmt: skip


@pytest.fixture
def made(tmp_path: Path) -> Path:
    return labelled.classes(tmp_path / "set", {"train/star": 2, "train/heart": 1, "test/star": 1})


def job(write: Write, **changes: Any) -> Path:
    return write("jobs/job.yaml", json.dumps({key: one for key, one in {**JOB, **changes}.items() if one is not None}))


def table(directory: Path) -> Any:
    return pd.read_parquet(directory / "manifest")


def test_children_have_label_split_and_parent(made: Path, write: Write, run_job: RunJob, tmp_path: Path) -> None:
    report = run_job(job(write), tmp_path / "run")
    assert (report.rows, report.made, report.failed) == (8, 8, 0)
    lines = table(tmp_path / "run")
    assert lines.groupby(["field_split", "field_label"]).size().to_dict() == {
        ("test", "star"): 2, ("train", "heart"): 2, ("train", "star"): 4,
    }  # fmt: skip
    assert set(lines.prompt) == {"a star", "a heart"} and lines.seed.nunique() == 8
    assert (lines.parent_id == lines.image_sha256.str[:20]).all()
    assert (lines.field_parent_sha256 == lines.image_sha256).all() and lines.attempts.isna().all()
    assert run_job(tmp_path / "run", tmp_path / "run").made == 0, "job.yaml has the recipe"
    labelled.classes(tmp_path / "set" / "train", {"square": 1})
    assert run_job(tmp_path / "run", tmp_path / "run").made == 2, "and follows the data set"


def test_seeds_follow_from_the_picture_alone(made: Path, write: Write) -> None:
    before = seeds(job(write))
    (made / "train/heart/0.png").rename(made / "train/heart/zz.png")
    assert seeds(job(write, variations=3)) > before and len(before) == 8
    assert seeds(job(write, seed=5)) == {5}


def seeds(spec: Path) -> set[int]:
    rows = api.job(spec, out=spec.parent / "run").rows
    return {row.params["seed"] for row in rows.take(range(len(rows)))}


def test_as_many_of_each_class(made: Path, write: Write) -> None:
    rows = api.job(job(write, variations=None, per_class=5, splits=["train"]), out=made / "run").rows
    counts: dict[Any, int] = {}
    for row in rows.take(range(len(rows))):
        key = row.fields["label"], row.fields["parent_id"]
        counts[key] = counts.get(key, 0) + 1
    assert sorted((label, count) for (label, _), count in counts.items()) == [("heart", 5), ("star", 2), ("star", 3)]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"recipe": "augmnt"}, "did you mean 'augment'"),
        ({"input": None}, "input: .* is not a data set"),
        ({"input": "../none"}, "no such folder"),
        ({"variations": 0}, "variations: 0 is not a whole number"),
        ({"per_class": 3}, "leave variations out"),
        ({"label": "lable"}, "no column 'lable'; did you mean 'label'"),
        ({"splits": ["val"]}, "no picture is of the splits"),
        ({"rows": "x.csv"}, "rows: the rows of recipe augment are made from its input"),
        ({"mode": "txt2img"}, "takes no picture"),
        ({"similarity": {"ssim": [0.9, 0.1]}}, "is not a band"),
        ({"similarity": {"clip": [0, 1]}}, "go together"),
        ({"similarity": {"sim": 1}}, "similarity.sim"),
        ({"similarity": {"tries": 0}}, "from 1 to 100"),
        ({"prompt": "a {lable}"}, "lable"),
        ({"distinct": 65}, "distinct: 65 is not a number of bits from 1 to 64"),
    ],
)
def test_mistakes_are_said(made: Path, write: Write, change: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        api.job(job(write, **change), out=made / "run")


def test_a_picture_in_two_splits_fails_the_run(made: Path, write: Write) -> None:
    (made / "test" / "star" / "copy.png").write_bytes((made / "train" / "star" / "0.png").read_bytes())
    with pytest.raises(SpecError, match=r"1 pictures are in two splits, such as .*train/star/0.png \(train\)"):
        api.job(job(write), out=made / "run")


def test_boxes_are_refused_where_content_may_move(made: Path, write: Write) -> None:
    lines = [{"file_name": f"star/{n}.png", "label": "star", "boxes": [[1, 2, 3, 4]]} for n in range(2)]
    (made / "train" / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(SpecError, match="mode img2img may move what 'boxes' is about"):
        api.job(job(write), out=made / "run")
    (first, *_) = api.job(job(write, boxes="keep"), out=made / "run").rows.take([0])
    assert first.fields["boxes"] == "[[1, 2, 3, 4]]"
    assert "boxes" not in api.job(job(write, boxes="drop"), out=made / "run").rows.fields


def test_the_object_is_kept_bit_for_bit(made: Path, write: Write, run_job: RunJob, tmp_path: Path) -> None:
    mask = np.zeros((64, 64), np.uint8)
    mask[16:40, 16:40] = 255
    Image.fromarray(mask).save(made / "mask.bmp")
    line = {"file_name": "train/star/0.png", "label": "star", "object_mask": "mask.bmp", "boxes": [[16, 16, 24, 24]]}
    (made / "metadata.jsonl").write_text(json.dumps(line) + "\n")
    run_job(job(write, mode="inpaint"), tmp_path / "run")
    before = np.asarray(Image.open(made / "train/star/0.png").convert("RGB"))
    for path in table(tmp_path / "run").path:
        after = np.asarray(Image.open(tmp_path / "run" / path))
        assert (after[mask > 0] == before[mask > 0]).all() and (after[mask == 0] != before[mask == 0]).any()


@pytest.mark.parametrize("named", ["../secret.png", "/etc/secret.png", "out/secret.png"])
def test_a_mask_is_named_within_the_data_set(made: Path, write: Write, named: str) -> None:
    (made.parent / "secret.png").write_bytes(labelled.picture(9))
    (made / "out").symlink_to(made.parent)
    line = {"file_name": "train/star/0.png", "label": "star", "object_mask": named}
    (made / "metadata.jsonl").write_text(json.dumps(line) + "\n")
    with pytest.raises(SpecError, match=r"input: .*(is no path in the data set's folder|links on the way lead)"):
        api.job(job(write), out=made / "run")


def test_too_like_or_unlike_is_tried_again_and_then_dropped(
    made: Path, write: Write, run_job: RunJob, tmp_path: Path
) -> None:
    run_job(job(write, strength=0.9), tmp_path / "free")
    scores = {}
    for line in table(tmp_path / "free").itertuples():
        before = np.asarray(Image.open(made / parent_of(made, line.image_sha256)).convert("RGB"))
        scores[line.id] = structural(np.asarray(Image.open(tmp_path / "free" / line.path)), before)
    middle = float(np.median(list(scores.values())))
    spec = job(write, strength=0.9, similarity={"ssim": [round(middle, 4), 1], "tries": 3})
    report = run_job(spec, tmp_path / "run")
    lines = table(tmp_path / "run")
    assert report.made + report.dropped == 8 and (report.failed, report.left, report.exit_code) == (0, 0, 0)
    assert set(lines.attempts) <= {1, 2, 3} and len(lines) == report.made
    first = {one for one, score in scores.items() if score >= round(middle, 4)}
    assert set(lines[lines.attempts == 1].id) == first and len(first) < 8
    for line in lines.itertuples():
        assert line.seed_used == base.again(line.seed, line.attempts)
        assert (line.fingerprint == lines.fingerprint[lines.attempts == 1].iloc[0]) == (line.attempts == 1)
        assert json.loads(line.scores)["ssim"] >= round(middle, 4)
    assert api.verify(tmp_path / "run", Quiet()).counts == {"exact": len(lines)}, "by the seed that was used"
    status = api.status(tmp_path / "run")
    assert (status.dropped, status.failed, status.left) == (report.dropped, 0, 0)
    again = run_job(tmp_path / "run", tmp_path / "run")
    assert (again.made, again.done, again.exit_code) == (0, 8, 0)
    assert set(table(tmp_path / "run").row) == set(lines.row)
    alone = run_job(job(write, strength=0.9, similarity={"ssim": [round(middle, 4), 1], "tries": 3},
                        render={"threads": 1, "batch_size": 3}), tmp_path / "other", limit=3)  # fmt: skip
    assert alone.made + alone.dropped == 3
    both = table(tmp_path / "other").merge(lines, on="id")
    assert (both.pixel_sha256_x == both.pixel_sha256_y).all() and len(both)


def test_nothing_passes_a_band_that_nothing_can_meet(made: Path, write: Write, run_job: RunJob, tmp_path: Path) -> None:
    spec = job(write, similarity={"ssim": [0.9999, 1], "tries": 2})
    report = run_job(spec, tmp_path / "run")
    assert (report.made, report.dropped, report.done, report.left) == (0, 8, 8, 0)
    failures = RunDirectory(tmp_path / "run").manifest().failures().to_pylist()
    assert {line["error"] for line in failures} == {"DroppedError"} and len(failures) == 8
    assert all("too far from its parent: ssim" in line["message"] and "2 attempts" in line["message"]
               for line in failures)  # fmt: skip
    assert run_job(spec, tmp_path / "run", retry="dropped").dropped == 8


def parent_of(root: Path, sha256: str) -> str:
    found = {hashlib.sha256(path.read_bytes()).hexdigest(): path for path in root.rglob("*.png")}
    return found[sha256].relative_to(root).as_posix()


def test_structural_similarity() -> None:
    one = np.asarray(Image.open(io.BytesIO(labelled.picture(1))))
    assert structural(one, one) == 1.0 and structural(one, 255 - one) < 0.5
    judge = Similarity(ssim=(0.1, 0.9)).judge
    assert judge(one, one, None).outcome == "again" and "too close" in judge(one, one, None).why


def test_the_command(made: Path, sdbatch: Any, tmp_path: Path) -> None:
    common = ["augment", str(made), "--out", str(tmp_path / "run"), "--prompt", "a {label}", "--variations", "1",
              "--set", "steps=1", "--set", "render.threads=1", "--json"]  # fmt: skip
    done = sdbatch(*common)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["made"] == 4
    assert json.loads(sdbatch(*common).stdout)["made"] == 0
    assert "LOW:HIGH" in sdbatch(*common, "--ssim", "3").stderr


@pytest.mark.parametrize("given", [{"similarity": {"ssim": [0.2, 0.9]}}, {"distinct": 8}])
def test_what_is_not_installed_is_said_before_anything_is_made(
    made: Path, write: Write, run_job: RunJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: dict[str, Any]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    (key,) = given
    with pytest.raises(SpecError, match=rf"{key}: compares pictures by scikit-image.*sdbatch\[data\]"):
        run_job(job(write, **given), tmp_path / "run")
    assert not (tmp_path / "run" / "images").exists()


def test_a_job_that_names_no_model_says_which_it_is(made: Path, write: Write, sdbatch: Any, tmp_path: Path) -> None:
    write("jobs/job.yaml", json.dumps(JOB))
    for command in (
        ["plan", "jobs/job.yaml", "--out", "run"],
        ["run", "jobs/job.yaml", "--out", "run", "--limit", "1"],
    ):
        done = sdbatch(*command)
        assert done.returncode == 0 and "no model is named: `demo` is used" in done.stdout + done.stderr
    done = sdbatch("run", "jobs/job.yaml", "--out", "run2", "--model", "demo", "--limit", "1")
    assert done.returncode == 0 and "no model is named" not in done.stderr


def test_a_run_in_the_data_set_does_not_feed_on_itself(made: Path, sdbatch: Any) -> None:
    command = ("augment", "set", "--model", "demo", "--prompt", "a {label}", "--variations", "1", "--set", "steps=2")
    for count in (4, 0):
        done = sdbatch(*command, "--out", "set/more", "--json")
        assert done.returncode == 0 and json.loads(done.stdout)["made"] == count, done.stderr
    done = sdbatch(*command, "--out", "set")
    assert done.returncode == 2 and "--out set: is the data set itself" in done.stderr
    assert not (made / "recipe.yaml").exists()
