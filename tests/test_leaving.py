"""No output leaves the run directory, whatever a table's cells say."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from sdbatch import api
from sdbatch.errors import SdbatchError, StoreError
from sdbatch.store.base import LocalStore

LABELS = ["../../x", "/etc/x", "a\\..\\b", "CON", "NUL.png", "dot. ", "x" * 300, "..", "é", "{seed.__class__}"]


def jobs(tmp_path: Path, labels: list[str], filename: str) -> Path:
    lines = [json.dumps({"label": label, "prompt": "a star", "seed": at}) for at, label in enumerate(labels)]
    (tmp_path / "jobs").mkdir(exist_ok=True)
    (tmp_path / "jobs" / "t.jsonl").write_text("\n".join(lines))
    path = tmp_path / "jobs" / "job.yaml"
    path.write_text(f"rows: t.jsonl\nsteps: 1\nwidth: 64\nheight: 64\noutput: {{filename: {json.dumps(filename)}}}\n")
    return path


def test_names_from_a_table_stay_inside(tmp_path: Path, run_job: Callable[..., api.RunReport]) -> None:
    report = run_job(jobs(tmp_path, LABELS, "{label}/{label}"), tmp_path / "run", executor="local")
    assert report.done == len(LABELS)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["jobs", "run"]
    made = [path for path in tmp_path.rglob("*") if path.suffix == ".png" and path.is_file()]
    assert len(made) == len(LABELS)
    assert all(path.is_relative_to(tmp_path / "run" / "images") and len(path.name.encode()) < 200 for path in made)


@pytest.mark.parametrize("labels", [["A", "a"], ["é", "e\u0301"], ["a/b", "a_b"], ["x ", "x"]])
def test_names_that_a_file_system_takes_for_one_are_refused(tmp_path: Path, labels: list[str]) -> None:
    path = jobs(tmp_path, labels, "{label}")
    with pytest.raises(SdbatchError, match="would both be"):
        api.plan_job(api.job(path, out=tmp_path / "run"))


def test_a_link_in_the_run_directory_leads_nothing_out(tmp_path: Path) -> None:
    (tmp_path / "away").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "images").symlink_to(tmp_path / "away")
    for path in ("images/a.png", "images/b/a.png"):
        with pytest.raises(StoreError, match="leads out"):
            LocalStore(tmp_path / "run").replace(path, b"x")
    assert list((tmp_path / "away").iterdir()) == []
    (tmp_path / "run" / "log.jsonl").symlink_to(tmp_path / "mine.txt")
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(StoreError, match=r"log\.jsonl"):
        LocalStore(tmp_path / "run").append("log.jsonl", "{}")
    assert (tmp_path / "mine.txt").read_text() == "mine"
