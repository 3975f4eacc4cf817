"""Near-duplicates: which go, whatever the order in which they were made."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import labelled
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdbatch import api
from sdbatch.api import thinning
from sdbatch.api.checking import fsck
from sdbatch.errors import StoreError
from sdbatch.recipes import duplicates
from sdbatch.recipes.duplicates import Made
from sdbatch.store.directory import RunDirectory

Write = Callable[..., Path]
RunJob = Callable[..., "api.RunReport"]


def made(*hashes: int, parent: str = "p") -> list[Made]:
    return [Made(f"{parent}{at}", parent, (at, ""), f"{value:016x}") for at, value in enumerate(hashes)]


def test_the_earlier_one_stays_and_what_goes_takes_no_other_with_it() -> None:
    assert duplicates.near(made(0b0, 0b1, 0b111), 2) == {"p1": ("p0", 1)}, "the third is like the second alone"
    assert duplicates.near(made(0, 0), 1) == {"p1": ("p0", 0)} and duplicates.near(made(0, 1), 1) == {}
    assert duplicates.near([*made(7), *made(7, parent="q")], 64) == {}, "another parent's"


@given(st.lists(st.integers(0, 2**64 - 1), max_size=12), st.integers(1, 64), st.randoms())
def test_what_stays_is_apart_in_any_order(values: list[int], bits: int, chance: random.Random) -> None:
    every = made(*values)
    found = duplicates.near(every, bits)
    stay = [int(one.phash, 16) for one in every if one.row not in found]
    assert all((one ^ other).bit_count() >= bits for at, one in enumerate(stay) for other in stay[:at])
    chance.shuffle(every)
    assert duplicates.near(every, bits) == found


@pytest.fixture
def spec(tmp_path: Path, write: Write) -> Path:
    labelled.classes(tmp_path / "set", {"star": 2, "heart": 1})
    job = {
        "recipe": "augment", "input": "../set", "variations": 4, "prompt": "a {label}", "strength": 0.3, "steps": 4,
        "distinct": 12, "render": {"threads": 1, "batch_size": 4},
    }  # fmt: skip
    return write("jobs/job.yaml", json.dumps(job))


def test_they_are_dropped_when_all_are_made(
    spec: Path, run_job: RunJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run_job(spec, tmp_path / "run", limit=5)
    assert first.dropped == 0 and first.left, "not before"
    with monkeypatch.context() as patch:  # as if killed between the two
        patch.setattr(thinning.Manifest, "forget", _killed)
        with pytest.raises(StoreError, match="killed"):
            run_job(spec, tmp_path / "run")
    done = run_job(spec, tmp_path / "run")
    lines = pd.read_parquet(tmp_path / "run" / "manifest")
    assert done.dropped and len(lines) + done.dropped == 12 and (done.left, done.exit_code) == (0, 0)
    assert len(list((tmp_path / "run" / "images").rglob("*.png"))) == len(lines)
    failures = RunDirectory(tmp_path / "run").manifest().failures().to_pylist()
    assert {line["error"] for line in failures} == {"DroppedError"}
    assert all(line["message"].startswith("near-duplicate: differs from ") for line in failures)
    for _, group in lines.groupby("parent_id"):
        hashes = [int(json.loads(text)["phash"], 16) for text in group.scores]
        assert all((one ^ other).bit_count() >= 12 for at, one in enumerate(hashes) for other in hashes[:at])
    status = api.status(tmp_path / "run")
    assert (status.done, status.dropped, status.left) == (len(lines), done.dropped, 0)
    assert not fsck(tmp_path / "run").findings
    assert run_job(spec, tmp_path / "run").made == 0
    whole = run_job(spec, tmp_path / "whole")
    assert set(pd.read_parquet(tmp_path / "whole" / "manifest").row) == set(lines.row) and whole.dropped == done.dropped


def test_what_is_no_longer_asked_for_drops_nothing(spec: Path, run_job: RunJob, tmp_path: Path) -> None:
    whole = run_job(spec, tmp_path / "run")
    spec.write_text(spec.read_text().replace('"steps": 4', '"steps": 5'))  # other rows, of much the same looks
    report = run_job(spec, tmp_path / "run")
    alone = run_job(spec, tmp_path / "alone")
    assert whole.dropped and report.dropped == alone.dropped < 12
    said = json.loads((tmp_path / "run" / "report.json").read_text())
    assert said["made"] == 12 - alone.dropped, "nor is it counted"


def _killed(*unused: object) -> None:
    raise StoreError("killed")
