"""A disk that is full, read-only or changed under a run: a clear error, and the next run completes the job."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from sdbatch import api
from sdbatch.api.checking import fsck
from sdbatch.errors import StoreError
from sdbatch.store.base import TEMPORARY

Runner = Callable[..., api.RunReport]
# Two leases, because rows of one batch take the same steps.
JOB: dict[str, Any] = {"name": "small", "prompt": "a star", "grid": {"steps": [1, 2], "seed": [1, 2]}}


@pytest.fixture(scope="module")
def reference(run_job: Runner, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The pixels of an undisturbed run."""
    run = tmp_path_factory.mktemp("reference") / "run"
    run_job(JOB, run)
    return pixels(run)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB."""
    home = tmp_path / "disk"
    home.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(home)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting is not allowed here")
    yield home
    subprocess.run(["umount", "-l", str(home)], check=True)


@contextmanager
def immutable(path: Path) -> Iterator[None]:
    """Nobody, not even root, changes this file or folder."""
    command = ["chattr", "+i", str(path)]
    if shutil.which("chattr") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("chattr does not work here")
    try:
        yield
    finally:
        subprocess.run(["chattr", "-i", path], check=True)


def pixels(directory: Path) -> dict[str, str]:
    table = pd.read_parquet(directory / "manifest")
    assert table["row"].is_unique
    return dict(zip(table["row"], table["pixel_sha256"], strict=True))


def parts(run: Path) -> list[Path]:
    return sorted((run / "manifest").glob("*.parquet"))


def after_first_lease(run: Path, harm: Callable[[], None]) -> Callable[[], bool]:
    """A `stopping` that never stops, and does harm once, when the first lease is committed."""
    state = {"done": False}

    def stopping() -> bool:
        if parts(run) and not state["done"]:
            state["done"] = True
            harm()
        return False

    return stopping


def goes_on(run: Path, reference: dict[str, str], run_job: Runner, made: int) -> None:
    """Running again completes the job, as if nothing had been."""
    assert list(run.rglob(f"{TEMPORARY}*")) == []
    assert run_job(JOB, run).made == made
    assert pixels(run) == reference and fsck(run).findings == ()


def test_a_disk_that_fills_up(small_disk: Path, reference: dict[str, str], run_job: Runner) -> None:
    run = small_disk / "run"
    filler = small_disk / "filler"

    def fill() -> None:
        with filler.open("wb", buffering=0) as file:
            while True:
                try:
                    file.write(b"0" * 4096)
                except OSError:
                    return

    with pytest.raises(StoreError, match=r"No space left on device.*sdbatch fsck") as caught:
        run_job(JOB, run, stopping=after_first_lease(run, fill))
    assert caught.value.exit_code == 74 and str(run) in str(caught.value)
    assert list(run.rglob(f"{TEMPORARY}*")) == []
    assert len(pixels(run)) == 2, "what was committed stays"
    assert {one.kind for one in fsck(run).findings} <= {"orphan"}, "nothing is torn"
    with pytest.raises(StoreError, match="No space left on device"):
        run_job(JOB, run)
    filler.unlink()
    goes_on(run, reference, run_job, 2)


def test_a_disk_that_is_read_only(small_disk: Path, reference: dict[str, str], run_job: Runner) -> None:
    run = small_disk / "run"
    run_job(JOB, run, limit=2)
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert fsck(run).findings == (), "looking needs no writing"
    for call in (lambda: run_job(run / "job.yaml", run), lambda: fsck(run, repair=True)):
        with pytest.raises(StoreError, match=r"disk/run.*Read-only file system") as caught:
            call()
        assert caught.value.exit_code == 74
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before
    goes_on(run, reference, run_job, 2)


@pytest.mark.parametrize("folder", ["manifest", "images"])
def test_a_folder_that_is_locked_under_a_run(
    folder: str, reference: dict[str, str], run_job: Runner, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    run_job(JOB, run, limit=2)
    with immutable(run / folder), pytest.raises(StoreError, match=rf"run/{folder}/.*sdbatch fsck") as caught:
        run_job(JOB, run)
    assert caught.value.exit_code == 74
    goes_on(run, reference, run_job, 2)


def test_a_log_that_cannot_be_written_loses_no_run(reference: dict[str, str], run_job: Runner, tmp_path: Path) -> None:
    run = tmp_path / "run"

    def harm() -> None:
        (run / "log.jsonl").unlink()
        (run / "log.jsonl").mkdir()

    assert run_job(JOB, run, stopping=after_first_lease(run, harm)).made == 4
    (run / "log.jsonl").rmdir()
    assert pixels(run) == reference and fsck(run).findings == ()


def test_a_directory_that_is_removed_under_a_run(reference: dict[str, str], run_job: Runner, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(StoreError, match=r"run/\.owner: removed or damaged"):
        run_job(JOB, run, stopping=after_first_lease(run, lambda: shutil.rmtree(run)))
    assert not parts(run)
    goes_on(run, reference, run_job, 4)


def test_a_picture_that_is_removed_under_a_run(reference: dict[str, str], run_job: Runner, tmp_path: Path) -> None:
    run = tmp_path / "run"
    lost: list[Path] = []

    def harm() -> None:
        lost.append(next((run / "images").iterdir()))
        lost[0].unlink()

    assert run_job(JOB, run, stopping=after_first_lease(run, harm)).made == 4
    assert [one.path for one in fsck(run, repair=True).findings] == [f"images/{lost[0].name}"]
    goes_on(run, reference, run_job, 1)


def test_a_part_that_is_damaged_ends_a_run_before_it_writes(
    reference: dict[str, str], run_job: Runner, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    run_job(JOB, run, limit=2)
    (part,) = parts(run)
    os.truncate(part, part.stat().st_size // 2)
    before = sorted(run.rglob("*"))
    with pytest.raises(StoreError) as caught:
        run_job(JOB, run)
    assert caught.value.exit_code == 74
    said = str(caught.value)
    assert said.startswith(f"{part} is not a whole part: ") and f"`sdbatch fsck {run} --repair`" in said
    assert sorted(run.rglob("*")) == before
    assert fsck(run, repair=True).exit_code == 0
    goes_on(run, reference, run_job, 4)
