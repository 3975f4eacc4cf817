"""SIGKILL of the driver at a hundred random moments: what is on disk is whole, and nothing is lost or made twice."""

from __future__ import annotations

import hashlib
import json
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import killing
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from sdbatch.store.base import TEMPORARY

if TYPE_CHECKING:
    from sdbatch import api

pytestmark = pytest.mark.slow
KILLS, ROWS, LEASE = 100, 16, 4
KILLS_A_RUN = 2
"""A row that is in hand alone when its worker dies, twice, is in quarantine: two kills cannot do that to one."""


@dataclass(frozen=True)
class Home:
    """A job, and what an undisturbed run of it made.

    Attributes:
        pixels: pixel_sha256 by id.
        seconds: what a run takes from its first event on.
    """

    spec: Path
    pixels: dict[str, str]
    seconds: float
    nursery: killing.Nursery


@pytest.fixture(scope="module")
def home(run_job: Callable[..., api.RunReport], tmp_path_factory: pytest.TempPathFactory) -> Home:
    base = tmp_path_factory.mktemp("kills")
    assert run_job(killing.JOB, base / "reference").made == ROWS
    table = lines(base / "reference")
    pixels = {line["id"]: line["pixel_sha256"] for line in table}
    nursery = killing.Nursery()
    process = nursery.start(base / "spec.yaml", base / "calm", base / "calm.txt")
    killing.wait_for_event(process, base / "calm" / "log.jsonl", 0)
    began = time.monotonic()
    process.join()
    assert process.exitcode == 0
    return Home(base / "spec.yaml", pixels, time.monotonic() - began, nursery)


def lines(directory: Path) -> list[dict[str, Any]]:
    """The manifest's lines, part by part, every part read to its end."""
    parts = [pq.read_table(path) for path in sorted((directory / "manifest").glob("*.parquet"))]
    found: list[dict[str, Any]] = pa.concat_tables(parts).to_pylist() if parts else []
    return found


def sha256(path: Path) -> str:
    return hashlib.sha256(np.asarray(Image.open(path).convert("RGB")).tobytes()).hexdigest()


def check_what_is_there(directory: Path, pixels: dict[str, str]) -> set[str]:
    """Whatever has its place is whole and right, at any moment; gives the ids that are done."""
    table = lines(directory)
    rows = Counter(line["row"] for line in table)
    assert set(rows.values()) <= {1}
    for line in table:
        assert line["pixel_sha256"] == pixels[line["id"]] == sha256(directory / line["path"])
    for path in directory.glob("images/*"):
        assert path.name.startswith(TEMPORARY) or sha256(path) == pixels[path.stem]
    return {line["id"] for line in table}


def check_the_end(directory: Path, home: Home) -> None:
    """Every row once, every picture as in the undisturbed run, and nothing else there."""
    assert check_what_is_there(directory, home.pixels) == set(home.pixels)
    images = sorted(path.name for path in directory.glob("images/*"))
    assert images == sorted(f"{key}.png" for key in home.pixels)
    assert not list(directory.rglob(f"{TEMPORARY}*")) and not list(directory.glob("attempts/*"))


def begun(rendered: Path) -> list[list[str]]:
    """The ids of each batch that was begun."""
    if not rendered.exists():
        return []
    return [json.loads(line) for line in rendered.read_text(encoding="utf-8").splitlines()]


def killed_run(home: Home, directory: Path, rendered: Path, draw: random.Random) -> bool:
    """Start a run and kill it somewhere; whether it was killed before its end."""
    log = directory / "log.jsonl"
    events = killing.count_lines(log)
    process = home.nursery.start(home.spec, directory, rendered)
    if draw.random() < 0.8:  # while it renders; else from the start on
        killing.wait_for_event(process, log, events)
    time.sleep(draw.uniform(0, home.seconds))
    process.kill()
    process.join()
    assert process.exitcode in (0, -9)
    return process.exitcode == -9


def test_a_hundred_kills_lose_nothing_and_make_nothing_twice(home: Home, tmp_path: Path) -> None:
    draw = random.Random(4)
    kills = lives = wasted = 0
    while kills < KILLS:
        lives += 1
        assert lives < 2 * KILLS, "runs end before they can be killed"
        directory, rendered = tmp_path / f"run-{lives}", tmp_path / f"rendered-{lives}"
        done: set[str] = set()
        died = 0
        for _ in range(KILLS_A_RUN):
            before = len(begun(rendered))
            died += killed_run(home, directory, rendered, draw)
            again = done & {key for batch in begun(rendered)[before:] for key in batch}
            assert not again, "what was done is rendered again"
            done = check_what_is_there(directory, home.pixels)
        before = len(begun(rendered))
        process = home.nursery.start(home.spec, directory, rendered)
        process.join()
        assert process.exitcode == 0
        assert {key for batch in begun(rendered)[before:] for key in batch} == set(home.pixels) - done
        check_the_end(directory, home)
        twice = sum(map(len, begun(rendered))) - ROWS
        assert twice <= died * LEASE, "more was rendered twice than the leases in hand"
        kills, wasted = kills + died, wasted + twice
    assert wasted, "no kill came while a batch was in hand"
