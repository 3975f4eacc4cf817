"""Runs that are killed or interrupted at any moment lose nothing and make nothing twice."""

from __future__ import annotations

import hashlib
import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from sdbatch.store.base import TEMPORARY

if TYPE_CHECKING:
    from sdbatch import api

pytestmark = pytest.mark.slow

JOB: dict[str, Any] = {
    "name": "killed",
    "prompt": "a {color} star",
    "steps": 4,
    "render": {"threads": 1},
    "output": {"filename": "{color}/{seed}"},
    "grid": {"color": ["red", "blue"], "seed": {"range": [0, 8]}},
}
ROWS = 16


def start(spec: Path, directory: Path, *options: str) -> subprocess.Popen[str]:
    code = "from sdbatch.cli.main import run; run()"
    command = [sys.executable, "-c", code, "run", str(spec), "--out", str(directory), "--json", *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    report = json.loads(out)
    assert isinstance(report, dict)
    return report


def written(directory: Path) -> set[Path]:
    """Pictures and parts, and temporary files on their way to be one."""
    found = (path for name in ("images", "manifest") for path in (directory / name).rglob("*"))
    return {path for path in found if path.suffix or path.name.startswith(TEMPORARY)}


def wait_for_more(process: subprocess.Popen[str], directory: Path, before: set[Path]) -> None:
    deadline = time.monotonic() + 60
    while process.poll() is None and not written(directory) - before:
        assert time.monotonic() < deadline, "nothing was written in a minute"
        time.sleep(0.002)


def check(directory: Path, reference: dict[str, str]) -> None:
    """Every row once, every picture whole, nothing left over."""
    table = pd.read_parquet(directory / "manifest")
    assert len(table) == table["row"].nunique() == ROWS
    assert dict(zip(table["id"], table["pixel_sha256"], strict=True)) == reference
    for path, pixels in zip(table["path"], table["pixel_sha256"], strict=True):
        shown = np.asarray(Image.open(directory / path).convert("RGB"))
        assert hashlib.sha256(shown.tobytes()).hexdigest() == pixels
    assert list(directory.rglob(f"{TEMPORARY}*")) == []
    assert {path.relative_to(directory).as_posix() for path in (directory / "images").rglob("*.png")} == set(
        table["path"]
    )


@pytest.fixture(scope="module")
def reference(run_job: Callable[..., api.RunReport], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """pixel_sha256 by id, of a run that nothing disturbed."""
    directory = tmp_path_factory.mktemp("reference") / "run"
    assert run_job(JOB, directory).made == ROWS
    table = pd.read_parquet(directory / "manifest")
    return dict(zip(table["id"], table["pixel_sha256"], strict=True))


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "killed.yaml"
    path.write_text(json.dumps(JOB), encoding="utf-8")
    return path


def test_a_run_killed_at_any_moment_goes_on_where_it_was(spec: Path, reference: dict[str, str], tmp_path: Path) -> None:
    draw = random.Random(0)
    directory = tmp_path / "run"
    killed = 0
    for _ in range(2):
        before = written(directory)
        with start(spec, directory) as process:
            wait_for_more(process, directory, before)
            time.sleep(draw.uniform(0, 0.15))
            process.kill()
            process.wait(10)
        killed += process.returncode == -signal.SIGKILL
    assert killed, "no run was killed before its end"
    done = len(pd.read_parquet(directory / "manifest")) if list((directory / "manifest").glob("*.parquet")) else 0
    (directory / "images" / f"{TEMPORARY}torn").write_bytes(b"as a killed run may leave it")
    with start(spec, directory) as process:
        report = finish(process)
    assert (report["done"], report["made"], report["left"]) == (ROWS, ROWS - done, 0)
    check(directory, reference)


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_saves_what_it_has_and_goes_on(
    by: signal.Signals, spec: Path, reference: dict[str, str], tmp_path: Path
) -> None:
    directory = tmp_path / "run"
    with start(spec, directory) as process:
        wait_for_more(process, directory, set())
        process.send_signal(by)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    report = json.loads(out)
    assert report["stopped"] and 0 < report["made"] < ROWS and report["left"] == ROWS - report["made"]
    assert "To go on: sdbatch run" in err
    assert len(pd.read_parquet(directory / "manifest")) == report["made"]
    last = json.loads((directory / "runs.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    assert last["outcome"]["exit_code"] == 130
    with start(spec, directory) as process:
        assert finish(process)["made"] == ROWS - report["made"]
    check(directory, reference)
