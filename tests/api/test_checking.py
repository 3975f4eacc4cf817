"""sdbatch fsck: each kind of damage is made in a real run directory, found, repaired, and the rows made again."""

from __future__ import annotations

import hashlib
import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from PIL import Image

from sdbatch import api
from sdbatch.api.checking import FsckReport, fsck
from sdbatch.store.base import TEMPORARY

Runner = Callable[..., api.RunReport]
JOB: dict[str, Any] = {
    "name": "small",
    "prompt": "a {color} star",
    "steps": 1,
    "output": {"filename": "{color}/{seed}"},
    "grid": {"color": ["red", "blue"], "seed": [1, 2]},
}
PICTURE, OTHER = "images/red/1.png", "images/blue/2.png"


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


def part(directory: Path, at: int = 0) -> Path:
    return sorted((directory / "manifest").iterdir())[at]


def gone(run: Path) -> None:
    (run / PICTURE).unlink()


def empty(run: Path) -> None:
    (run / PICTURE).write_bytes(b"")


def cut(run: Path) -> None:
    data = (run / PICTURE).read_bytes()
    (run / PICTURE).write_bytes(data[: len(data) // 2])


def stripped(run: Path) -> None:
    """Another program saved the same pixels, without the texts."""
    Image.open(run / PICTURE).convert("RGB").save(run / PICTURE)


def painted(run: Path) -> None:
    Image.new("RGB", (64, 64)).save(run / PICTURE)


def stray(run: Path) -> None:
    (run / "images" / "mine.txt").write_text("mine")


def unfinished(run: Path) -> None:
    (run / "images" / "red" / f"{TEMPORARY}1").write_bytes(b"torn")


def cut_part(run: Path) -> None:
    data = part(run).read_bytes()
    part(run).write_bytes(data[: len(data) // 2])


def flipped_part(run: Path) -> None:
    """One bit of one page, which its checksum tells."""
    data = bytearray(part(run).read_bytes())
    column = pq.ParquetFile(io.BytesIO(bytes(data))).metadata.row_group(0).column(0)
    data[column.dictionary_page_offset + 40] ^= 1
    part(run).write_bytes(bytes(data))


def text_part(run: Path) -> None:
    part(run).write_bytes(b"not Parquet")


def copied_part(run: Path) -> None:
    shutil.copy(part(run), part(run).with_name("zz.parquet"))


def torn_runs(run: Path) -> None:
    with (run / "runs.jsonl").open("a") as file:
        file.write('{"run": "x", "jo')


def torn_log(run: Path) -> None:
    with (run / "log.jsonl").open("a") as file:
        file.write('{"time": "20')


def bad_failures(run: Path) -> None:
    (run / "failures").mkdir()
    (run / "failures" / "x.parquet").write_bytes(b"PAR1")


PART = "manifest/*0"  # stands for the first part
DAMAGE: list[tuple[Callable[[Path], None], list[tuple[str, str]], int]] = [
    (gone, [("missing", PICTURE)], 1),
    (empty, [("torn", PICTURE)], 1),
    (cut, [("torn", PICTURE)], 1),
    (stripped, [("altered", PICTURE)], 1),
    (painted, [("altered", PICTURE)], 1),
    (stray, [("orphan", "images/mine.txt")], 0),
    (unfinished, [("temporary", f"images/red/{TEMPORARY}1")], 0),
    (cut_part, [("orphan", PICTURE), ("orphan", "images/red/2.png"), ("part", PART)], 2),
    (flipped_part, [("orphan", PICTURE), ("orphan", "images/red/2.png"), ("part", PART)], 2),
    (text_part, [("orphan", PICTURE), ("orphan", "images/red/2.png"), ("part", PART)], 2),
    (copied_part, [("duplicate", PICTURE), ("duplicate", "images/red/2.png")], 0),
    (torn_runs, [("line", "runs.jsonl")], 0),
    (torn_log, [("line", "log.jsonl")], 0),
    (bad_failures, [("part", "failures/x.parquet")], 0),
]


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
    damage(run)
    first = f"manifest/{part(run).name}"
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
