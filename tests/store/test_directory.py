"""The run directory's own papers: job.yaml, runs.jsonl, log.jsonl."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from sdbatch.errors import StoreError
from sdbatch.store.directory import JOB, LOG, RUNS, RunDirectory, now


@pytest.fixture
def directory(tmp_path: Path) -> RunDirectory:
    return RunDirectory(tmp_path / "run")


def about(run: str, job: str = "job") -> dict[str, Any]:
    """What a run says of itself."""
    rest = {"spec": "/job.yaml", "render": {}, "output": {}, "device": "cpu", "memory": 0, "models": []}
    return {"run": run, "job": job, **rest}


def test_nothing_is_there_before_the_first_run(directory: RunDirectory) -> None:
    assert not directory.begun
    assert directory.runs() == []


def test_a_run_is_written_down_when_it_begins_and_when_it_ends(directory: RunDirectory) -> None:
    directory.begin(about("one", job="é"), "name: é\n")
    assert directory.begun
    assert (directory.path / JOB).read_text(encoding="utf-8") == "name: é\n"
    (begun,) = directory.runs()
    assert begun["outcome"] is None and "finished_at" not in begun and begun["started_at"] <= now()
    directory.finish("one", {"made": 3})
    (ended,) = directory.runs()
    assert ended == {**begun, "finished_at": ended["finished_at"], "outcome": {"made": 3}}


def test_runs_stay_in_order_and_only_the_one_named_ends(directory: RunDirectory) -> None:
    for name in ("one", "two", "three"):
        directory.begin(about(name), f"name: {name}\n")
    directory.finish("two", {"made": 1})
    assert [(run["run"], run["outcome"]) for run in directory.runs()] == [
        ("one", None), ("two", {"made": 1}), ("three", None),
    ]  # fmt: skip
    assert (directory.path / JOB).read_text(encoding="utf-8") == "name: three\n"


def test_every_event_is_a_line_of_the_log(directory: RunDirectory) -> None:
    directory.begin(about("one"), "")
    directory.log("lease_done", lease=3, text="zwei\nZeilen")
    directory.finish("one", {"made": 3})
    lines = [json.loads(line) for line in (directory.path / LOG).read_text(encoding="utf-8").splitlines()]
    assert [line["event"] for line in lines] == ["run_started", "lease_done", "run_finished"]
    assert (lines[1]["lease"], lines[1]["text"], lines[2]["made"]) == (3, "zwei\nZeilen", 3)


@pytest.mark.parametrize(
    "damage", [b'{"run": "one", "job', b"\xff\xfe\x00", b"[1, 2\n", b"[1, 2]\n", b'{"run": "two"}\n']
)
def test_a_damaged_runs_file_is_said_with_its_name(damage: bytes, directory: RunDirectory) -> None:
    directory.begin(about("one"), "")
    with (directory.path / RUNS).open("ab") as file:
        file.write(damage)
    with pytest.raises(StoreError, match=r"runs\.jsonl is damaged"):
        directory.runs()


def test_times_sort_as_texts_and_are_in_utc() -> None:
    first, second = now(), now()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", first)
    assert first <= second
