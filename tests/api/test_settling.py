"""What a directory already holds: recorded again, written another way, failed before, no longer asked for."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

from sdbatch import api
from sdbatch.api import settling, working
from sdbatch.errors import RefusedError, SpecError, StoreError, UsageError
from sdbatch.spec.digests import Digests
from sdbatch.store.attempts import InHand
from sdbatch.store.base import LocalStore
from sdbatch.store.directory import RunDirectory
from sdbatch.types import Failure, Row

JOB: dict[str, Any] = {"name": "small", "prompt": "a red star", "steps": 1, "grid": {"seed": [1, 2]}}
Runner = Callable[..., api.RunReport]


def lines(directory: Path) -> pd.DataFrame:
    return pd.read_parquet(directory / "manifest").sort_values("row")


def labelled(directory: Path, *labels: str) -> dict[str, Any]:
    """The same two pictures for each label, from a table."""
    table = directory.parent / "rows.jsonl"
    rows = [{"prompt": "a red star", "seed": seed, "label": label} for label in labels for seed in (1, 2)]
    table.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return {"name": "small", "steps": 1, "rows": str(table)}


def test_a_picture_that_is_there_is_recorded_for_another_row(run_job: Runner, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert run_job(labelled(run, "one"), run).made == 2
    report = run_job(labelled(run, "one", "two"), run)
    assert (report.made, report.done, report.left) == (0, 4, 0)
    found = lines(run)
    assert found.row.is_unique and len(found) == 4 and found.id.nunique() == 2
    assert set(found.field_label) == {"one", "two"}


@pytest.mark.parametrize("harm", ["another format", "gone"])
def test_a_picture_that_cannot_stand_for_another_row_is_made(harm: str, run_job: Runner, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run_job(labelled(run, "one"), run)
    job: Mapping[str, Any] = labelled(run, "two")
    if harm == "gone":
        for path in lines(run).path:
            (run / path).unlink()
    else:
        job = {**job, "output": {"format": "jpeg"}}
    report = run_job(job, run)
    assert (report.made, report.done, report.retired) == (2, 2, 2)
    made = lines(run).query("field_label == 'two'")
    formats = {Image.open(run / path).format for path in made.path}
    assert formats == ({"JPEG"} if harm == "another format" else {"PNG"})


def test_another_output_is_refused_for_rows_that_are_done(run_job: Runner, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run_job(JOB, run)
    before = lines(run)
    other = {**JOB, "output": {"format": "webp"}}
    with pytest.raises(RefusedError, match=r"output\.format was 'png', now 'webp', and 2 rows .* --rewrite"):
        run_job(other, run)
    assert lines(run).equals(before)
    report = run_job(other, run, rewrite=True)
    after = lines(run)
    assert report.made == 2 and list(after.row) == list(before.row)
    assert list(after.pixel_sha256) == list(before.pixel_sha256)
    assert sorted(path.suffix for path in (run / "images").iterdir()) == [".webp", ".webp"]


def test_an_older_output_is_seen_behind_a_newer_one(run_job: Runner, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run_job(JOB, run)
    run_job({**JOB, "grid": {"seed": [3]}, "output": {"format": "webp"}}, run)
    with pytest.raises(RefusedError, match="2 rows are written the old way"):
        run_job({**JOB, "output": {"format": "webp"}}, run)


def test_another_watermark_is_refused_for_rows_that_are_done(run_job: Runner, tmp_path: Path) -> None:
    run = tmp_path / "run"
    large = {**JOB, "width": 256, "height": 256, "grid": {"seed": [1]}}
    run_job(large, run)
    # As a run of the first version would have recorded what it wrote by.
    journal = run / "runs.jsonl"
    journal.write_text(re.sub(r', "watermark": null.*?}', "}", journal.read_text(), count=1))
    (before,) = lines(run).to_dict("records")
    assert [run["output"].keys() for run in RunDirectory(run).runs()] == [{"filename", "format", "quality"}]
    assert pd.isna(before["watermark"])
    assert run_job(large, run).made == 0
    other = {**large, "output": {"watermark": "mine"}}
    with pytest.raises(RefusedError, match=r"output\.watermark was None, now 'mine', and 1 rows .* --rewrite"):
        run_job(other, run)
    assert run_job(other, run, rewrite=True).made == 1
    (after,) = lines(run).to_dict("records")
    assert (after["watermark"], after["watermark_bits"]) == ("mine", 1.0)
    alike = ("id", "row", "fingerprint", "path")
    assert [after[name] for name in alike] == [before[name] for name in alike]
    assert after["pixel_sha256"] != before["pixel_sha256"]


def test_a_picture_with_another_watermark_cannot_stand_for_a_row(run_job: Runner, tmp_path: Path) -> None:
    run = tmp_path / "run"
    size = {"width": 256, "height": 256}
    run_job({**labelled(run, "one"), **size}, run)
    report = run_job({**labelled(run, "two"), **size, "output": {"watermark": "mine"}}, run)
    assert (report.made, report.retired) == (2, 2)
    assert set(lines(run).query("field_label == 'two'").watermark) == {"mine"}


def test_the_latest_failure_decides_what_is_tried_again(tmp_path: Path) -> None:
    manifest = RunDirectory(tmp_path / "run").manifest("r")
    first, second = "2026-01-01T00:00:00.000Z", "2026-01-02T00:00:00.000Z"
    a, b = "0a" * 10, "0b" * 10
    manifest.commit([], [Failure(a, a, 1, "MemoryError", "", second, ""), Failure(b, b, 1, "OSError", "", first, "")])
    manifest.commit([], [Failure(a, a, 1, "OSError", "", first, "")])
    assert settling.held(manifest, True) is None
    assert keys(settling.held(manifest, False)) == [[a, b], [a, b]]
    assert keys(settling.held(manifest, "memoryerror")) == [[b], [b]]


def keys(held: tuple[Digests, Digests] | None) -> list[list[str]]:
    """Ids and row keys as texts."""
    return [sorted(one.texts()) for one in held or ()]


def note(directory: Path, *rows: tuple[str, str]) -> None:
    """What a worker that was killed leaves."""
    made = [Row(identity, line, "main", "", {}, {}) for identity, line in rows]
    InHand(LocalStore(directory)).take([made])


def deaths(directory: Path) -> list[tuple[str, int]]:
    if not (directory / "failures").exists():
        return []
    table = pd.read_parquet(directory / "failures").sort_values("when", kind="stable")
    return list(zip(table.error, table.attempt, strict=True))


def test_a_row_that_dies_alone_twice_is_in_quarantine(run_job: Runner, tmp_path: Path) -> None:
    job, run = {**JOB, "grid": {"seed": [1, 2, 3, 4, 5]}, "render": {"batch_size": 2}}, tmp_path / "run"
    assert run_job(job, run, limit=2).made == 2
    ready = api.job(tmp_path / "spec.yaml", out=run)
    third, fourth = [(row.id, row.row) for row in ready.rows.take([2, 3])]

    note(run, third, fourth)  # with two in hand, none is to blame
    with pytest.MonkeyPatch.context() as patch:
        seen: list[list[str]] = []
        take = InHand.take
        patch.setattr(InHand, "take", lambda self, groups: (seen.append([g[0].id for g in groups]), take(self, groups)))
        assert run_job(job, run, limit=1).made == 1  # the fifth: those that are feared wait
        assert deaths(run) == [("WorkerDied", 0)] * 2
        note(run, third)
        assert run_job(job, run, limit=0).made == 0
        assert deaths(run)[2:] == [("WorkerDied", 1)]
        note(run, third)
        report = run_job(job, run)
        assert (report.made, report.failed, report.left, report.exit_code) == (1, 1, 1, 1)
        assert deaths(run)[3:] == [("Quarantined", 2)]
        assert all(len(ids) == 1 for ids in seen[-1:]) and seen[-1] == [fourth[0]]
    assert api.status(run).quarantined == 1
    assert run_job(job, run, retry="inputerror").made == run_job(job, run, retry=False).made == 0
    assert run_job(job, run, retry="quarantined").made == 1
    assert api.status(run).quarantined == 0 and not list((run / "attempts").glob("*"))


def test_a_note_that_does_not_read_is_no_death(run_job: Runner, tmp_path: Path) -> None:
    run_job(JOB, tmp_path / "run", limit=0)
    (tmp_path / "run" / "attempts").mkdir()
    for number, text in enumerate(["", "{", "[]", '{"rows": 3, "where": "x"}', '{"rows": [["a"]], "where": "x"}']):
        (tmp_path / "run" / "attempts" / f"{number}.json").write_text(text)
    run_job(JOB, tmp_path / "run")
    assert deaths(tmp_path / "run") == [] and not list((tmp_path / "run" / "attempts").glob("*"))


def test_retired_rows_are_counted_and_stay_out_of_the_sheet(
    run_job: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sdbatch.report import sheet

    run, shown = tmp_path / "run", []
    run_job(JOB, run)
    assert run_job({**JOB, "grid": {"seed": [2, 3]}}, run).retired == 1
    assert api.status(run).retired == 1 and len(lines(run)) == 3
    draw = sheet.sheet
    monkeypatch.setattr(
        sheet, "sheet", lambda table, *rest, **named: shown.append(table) or draw(table, *rest, **named)
    )
    api.sheet(run, x="seed")
    assert sorted(shown[0].column("seed").to_pylist()) == [2, 3]


def test_a_run_that_cannot_begin_leaves_no_directory(run_job: Runner, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="would both be"):
        run_job({**JOB, "output": {"filename": "same"}}, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.ray
def test_a_run_that_the_cluster_cannot_hold_leaves_no_directory(run_job: Runner, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="GPUs"):
        run_job(JOB, tmp_path / "run", executor="ray", actors=1, gpus_per_actor=4.0)
    assert not (tmp_path / "run").exists()


def test_a_file_in_the_place_of_the_directory_is_said(run_job: Runner, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("", encoding="utf-8")
    with pytest.raises(StoreError, match="is a file"):
        run_job(JOB, tmp_path / "run")


def test_a_picture_of_a_retired_row_is_not_overwritten(run_job: Runner, tmp_path: Path) -> None:
    run, named = tmp_path / "run", {**JOB, "output": {"filename": "{seed}"}}
    run_job(named, run)
    before = {path.name: path.read_bytes() for path in (run / "images").iterdir()}
    with pytest.raises(RefusedError, match=r"2 rows would overwrite .* such as images/1\.png; add \{id\}"):
        run_job({**named, "steps": 2}, run)
    assert {path.name: path.read_bytes() for path in (run / "images").iterdir()} == before
    assert run_job(named, run).left == 0
    assert run_job({**named, "grid": {"seed": [2, 3]}}, run).made == 1


def test_an_empty_directory_of_the_users_own_stays(run_job: Runner, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with pytest.raises(SpecError):
        run_job({**JOB, "output": {"filename": "same"}}, tmp_path / "run")
    assert (tmp_path / "run").is_dir()


def test_the_workers_end_where_a_run_cannot_begin(
    run_job: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = []

    class Pool:
        def close(self) -> None:
            closed.append(True)

    def full(self: RunDirectory, about: Any, text: str) -> None:
        raise StoreError("no space left")

    monkeypatch.setattr(working.Work, "_pool", lambda *rest: (Pool(), 1))
    monkeypatch.setattr(RunDirectory, "begin", full)
    with pytest.raises(StoreError, match="no space left"):
        run_job(JOB, tmp_path / "run")
    assert closed == [True]
