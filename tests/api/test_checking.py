"""sdbatch fsck: each kind of damage is made in a real run directory, found, repaired, and the rows made again."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from damage import DAMAGE, OTHER, PART, PICTURE, gone, part, stray, stripped, unfinished
from PIL import Image

from sdbatch import api
from sdbatch.api.checking import FsckReport, fsck
from sdbatch.errors import BusyError, StoreError
from sdbatch.store.base import TEMPORARY
from sdbatch.store.directory import RunDirectory
from sdbatch.store.findings import KINDS

Runner = Callable[..., api.RunReport]
JOB: dict[str, Any] = {
    "name": "small",
    "prompt": "a {color} star",
    "steps": 1,
    "output": {"filename": "{color}/{seed}"},
    "grid": {"color": ["red", "blue"], "seed": [1, 2]},
}


@pytest.fixture(scope="module")
def made(run_job: Runner, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two parts, with a failure, that nothing disturbed."""
    run = tmp_path_factory.mktemp("made") / "run"
    run_job(JOB, run, limit=2)
    run_job(JOB, run)
    return run


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    """A copy of it, to be damaged."""
    return Path(shutil.copytree(made, tmp_path / "run"))


def pixels(directory: Path) -> dict[str, str]:
    """What the manifest says of each row, after a look at the picture itself."""
    table = pd.read_parquet(directory / "manifest")
    assert table["row"].is_unique
    for path, wanted in zip(table["path"], table["pixel_sha256"], strict=True):
        shown = np.asarray(Image.open(directory / path).convert("RGB"))
        assert hashlib.sha256(shown.tobytes()).hexdigest() == wanted
    return dict(zip(table["row"], table["pixel_sha256"], strict=True))


def kinds(report: FsckReport) -> list[tuple[str, str]]:
    return sorted((one.kind, one.path) for one in report.findings)


def contents(directory: Path) -> dict[str, bytes]:
    found = (path for path in directory.rglob("*") if path.is_file() and not path.name.startswith(".lock"))
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in found}


def test_an_undisturbed_run_is_clean(made: Path) -> None:
    before = contents(made)
    report = fsck(made)
    assert (report.rows, report.pictures, report.findings, report.exit_code) == (4, 4, (), 0)
    assert contents(made) == before


@pytest.mark.parametrize(("damage", "expected", "again"), DAMAGE, ids=[one[0].__name__ for one in DAMAGE])
def test_damage_is_found_repaired_and_made_again(
    damage: Callable[[Path], None],
    expected: list[tuple[str, str]],
    again: int,
    made: Path,
    run: Path,
    run_job: Runner,
) -> None:
    first = f"manifest/{part(run).name}"
    damage(run)
    expected = [(kind, first if path == PART else path) for kind, path in expected]
    damaged = contents(run)
    report = fsck(run)
    assert kinds(report) == expected and report.exit_code == 1
    assert contents(run) == damaged, "looking changed something"
    repaired = fsck(run, repair=True)
    assert kinds(repaired) == expected and repaired.exit_code == 0
    assert fsck(run).findings == ()
    left = {hashlib.sha256(data).digest() for data in contents(run).values()}
    lost = {name for name, data in damaged.items() if hashlib.sha256(data).digest() not in left}
    # The lines taken out of a part are kept as a part of their own.
    assert {name for name in lost if TEMPORARY not in name and not name.startswith("manifest/")} == set()
    assert run_job(run / "job.yaml", run).made == again
    assert pixels(run) == pixels(made)
    assert fsck(run).findings == ()


def test_what_output_save_wrote_belongs_to_its_picture(run_job: Runner, tmp_path: Path) -> None:
    run = tmp_path / "run"
    Image.new("RGB", (64, 64), "white").save(tmp_path / "start.png")
    Image.new("L", (64, 64), 255).save(tmp_path / "mask.png")
    job = {
        "mode": "inpaint", "model": "demo", "prompt": "a star", "steps": 1, "image": "start.png", "mask": "mask.png",
        "output": {"save": ["mask"], "filename": "{seed}"}, "grid": {"seed": [1, 2]},
    }  # fmt: skip
    run_job(job, run)
    assert {path.name for path in (run / "images").iterdir()} == {"1.png", "1.mask.png", "2.png", "2.mask.png"}
    before = pixels(run)
    assert fsck(run).findings == ()
    (run / "images" / "1.mask.png").write_bytes(b"\x89PNG")
    (run / "images" / "3.mask.png").write_bytes(b"")
    assert kinds(fsck(run)) == [("orphan", "images/3.mask.png"), ("torn", "images/1.mask.png")]
    assert fsck(run, repair=True).exit_code == 0
    assert {path.name for path in (run / "images").iterdir()} == {"2.png", "2.mask.png"}
    assert run_job(run / "job.yaml", run).made == 1
    assert pixels(run) == before and fsck(run).findings == ()
    assert (run / "images" / "1.mask.png").stat().st_size > 8


def test_of_rows_alike_in_id_one_file_stands_for_all(run_job: Runner, tmp_path: Path) -> None:
    run = tmp_path / "run"
    job = {**JOB, "grid": {"seed": [1]}, "output": {}, "prompt": "a star"}
    table = tmp_path / "rows.jsonl"
    table.write_text('{"label": "x"}\n{"label": "y"}\n')
    run_job({**job, "rows": str(table)}, run)
    before = pixels(run)
    (picture,) = (run / "images").iterdir()
    picture.write_bytes(b"")
    (found,) = fsck(run, repair=True).findings
    assert found.kind == "torn" and set(found.rows) == set(before) and len(before) == 2
    assert run_job(run / "job.yaml", run).made == 2 and pixels(run) == before


def test_altered_says_whether_the_pixels_are_those_recorded(run: Path, run_job: Runner, tmp_path: Path) -> None:
    stripped(run)
    Image.new("RGB", (64, 64)).save(run / OTHER)
    found = {one.path: (one.pixels, one.message) for one in fsck(run).findings}
    assert found[PICTURE][0] == "same" and found[OTHER][0] == "different"
    lossy = tmp_path / "lossy"
    run_job({**JOB, "grid": {"seed": [1]}, "prompt": "a star", "output": {"filename": "x", "format": "jpeg"}}, lossy)
    Image.open(lossy / "images/x.jpg").save(lossy / "images/x.jpg", quality=50)
    (one,) = fsck(lossy).findings
    assert one.kind == "altered" and one.pixels is None and "cannot be told" in one.message


def test_a_job_file_that_is_damaged_or_gone(run: Path, made: Path) -> None:
    whole = (run / "job.yaml").read_text()
    for text in (": [", "- 1", whole.rpartition("grid")[0], None):
        (run / "job.yaml").unlink(missing_ok=True)
        if text is not None:
            (run / "job.yaml").write_text(text)
        for repair in (False, True):
            report = fsck(run, repair=repair)
            assert kinds(report) == [("job", "job.yaml")] and report.exit_code == 1
            assert f"`sdbatch run {made.parent / 'spec.yaml'} --out {run}` writes it anew" in report.findings[0].message


def test_a_line_that_names_a_file_elsewhere_moves_nothing(run: Path) -> None:
    mine = run.parent / "mine.png"
    mine.write_bytes(b"mine")
    table = pq.read_table(part(run))
    at = table.column_names.index("path")
    pq.write_table(table.set_column(at, "path", [["images/../../mine.png", str(mine)]]), part(run))
    report = fsck(run, repair=True)
    assert sorted(one.kind for one in report.findings) == ["missing", "missing", "orphan", "orphan"]
    assert mine.read_bytes() == b"mine" and fsck(run).findings == ()


def test_a_name_that_is_not_text_is_an_orphan(run: Path) -> None:
    (run / "images" / os.fsdecode(b"\xff\xfe.png")).write_bytes(b"x")
    report = fsck(run, repair=True)
    assert [one.kind for one in report.findings] == ["orphan"] and json.dumps(report.as_json())
    assert fsck(run).findings == ()


def test_while_a_run_is_at_work_only_what_is_committed_is_judged(run: Path) -> None:
    stray(run)
    unfinished(run)
    gone(run)
    with RunDirectory(run).lock():
        report = fsck(run)
        assert kinds(report) == [("missing", PICTURE)] and f"process {os.getpid()}" in str(report.held_by)
        with pytest.raises(BusyError):
            fsck(run, repair=True)
    assert len(fsck(run).findings) == 3


def test_what_is_no_run_directory_is_said(tmp_path: Path) -> None:
    for repair in (False, True):
        with pytest.raises(StoreError, match="not a run directory"):
            fsck(tmp_path, repair=repair)
    assert list(tmp_path.iterdir()) == []


def test_the_command(run: Path, sdbatch: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    gone(run)
    done = sdbatch("fsck", run)
    assert (done.returncode, done.stdout) == (1, f"missing: {PICTURE}: is in the manifest, but not there\n")
    assert (
        f"{run}: 4 rows of 4 pictures looked at: 1 missing" in done.stderr
        and f"sdbatch fsck {run} --repair" in done.stderr
    )
    done = sdbatch("fsck", run, "--repair", "--json")
    report = json.loads(done.stdout)
    assert (done.returncode, report["schema"], report["counts"]) == (0, 1, {"missing": 1})
    assert report["findings"][0].keys() == {"kind", "path", "message", "rows", "pixels", "repaired"}
    assert sdbatch("fsck", run.parent).returncode == 74


def test_the_page_says_what_each_word_means(root: Path) -> None:
    page = (root / "docs" / "recovery.md").read_text(encoding="utf-8")
    assert [kind for kind in KINDS if f"| `{kind}` |" not in page] == []


def test_a_repair_says_how_to_go_on(run: Path, sdbatch: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    gone(run)
    done = sdbatch("fsck", run, "--repair")
    assert done.returncode == 0 and "1 missing; repaired" in done.stderr
    assert f"To make again what was lost: sdbatch run {run}" in done.stderr and "To repair" not in done.stderr
