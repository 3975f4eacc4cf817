"""docs/directory.md names what a run directory holds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq

from sdbatch import api
from sdbatch.store.directory import RunDirectory


def test_columns_runs_and_events_are_documented(
    run_job: Callable[..., api.RunReport], root: Path, tmp_path: Path
) -> None:
    page = (root / "docs" / "directory.md").read_text(encoding="utf-8")
    run_job({"prompt": "a star", "steps": 1}, tmp_path / "run")
    (part,) = (tmp_path / "run" / "manifest").iterdir()
    names = pq.read_schema(part).names
    columns = (root / "docs" / "manifest.md").read_text(encoding="utf-8")
    assert [name for name in names if f"| `{name}` |" not in columns] == []
    (run,) = RunDirectory(tmp_path / "run").runs()
    events = [json.loads(line)["event"] for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert events == ["run_started", "lease_done", "run_finished"]
    assert [name for name in (*run, *events) if f"`{name}`" not in page] == []
    assert run["spec_sha256"] == hashlib.sha256((tmp_path / "run" / "job.yaml").read_bytes()).hexdigest()
