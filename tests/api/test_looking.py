"""What is seen of a run from outside."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sdbatch import api
from sdbatch.store.attempts import InHand
from sdbatch.store.directory import RunDirectory
from sdbatch.types import Row


def test_workers_are_at_work_while_a_run_holds_the_directory(
    run_job: Callable[..., api.RunReport], tmp_path: Path
) -> None:
    run_job({"prompt": "a star", "steps": 1, "grid": {"seed": [0, 1]}}, tmp_path / "run", limit=1)
    there = RunDirectory(tmp_path / "run")
    with there.lock():
        InHand(there.store, lambda row: "cpu, demo").take([[Row("i", "r", "main", "x.png", {}, {})]])
        seen = api.status(tmp_path / "run")
        assert not seen.idle and [line.partition(": ")[2] for line in seen.at_work] == ["1 row in hand, cpu, demo"]
    seen = api.status(tmp_path / "run")  # the note of a worker that was killed is still there
    assert seen.idle and seen.at_work == () and seen.left == 1
