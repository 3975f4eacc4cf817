"""Sped-up rows through a whole run: what is recorded, verified, replayed, and what fails."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from verified import alter, line, verify

from sdbatch import api
from sdbatch.api.comparing import EXACT, FAILED
from sdbatch.api.replaying import ReplayOptions, read_pictures, replay
from sdbatch.api.ways import Ways
from sdbatch.store.directory import RunDirectory

Runner = Callable[..., api.RunReport]
WAYS: list[Any] = [None, {"deepcache": 2}, {"tome": 0.5}]
JOB: dict[str, Any] = {
    "name": "sped",
    "prompt": "a red star",
    "steps": 3,
    "output": {"filename": "{n}"},
    "zip": {"accelerate": WAYS, "n": ["plain", "cache", "merge"]},
    "render": {"batch_size": 2},
}


class Silent:
    """A listener that hears nothing."""

    def begin(self, planned: Any, left: int, directory: Path) -> None: ...

    def rows(self, count: int) -> None: ...

    def result(self, result: Any) -> None: ...

    def say(self, text: str) -> None: ...


@pytest.fixture(scope="module")
def run(run_job: Runner, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three rows, one of them plain."""
    directory = tmp_path_factory.mktemp("sped") / "run"
    assert run_job(JOB, directory).made == 3
    return directory


def test_the_manifest_says_what_was_asked_and_by_which_versions(run: Path) -> None:
    plain, cache, merge = (line(run, f"{name}.png") for name in ("plain", "cache", "merge"))
    assert [one["accelerate"] for one in (plain, cache, merge)] == [None, '{"deepcache": 2}', '{"tome": 0.5}']
    assert len({one["pixel_sha256"] for one in (plain, cache, merge)}) == 3
    assert len({one["fingerprint"] for one in (plain, cache, merge)}) == 3
    for one, name in ((cache, "DeepCache"), (merge, "tomesd")):
        versions = {**json.loads(plain["versions"]), name: metadata.version(name)}
        assert json.loads(one["versions"]) == versions


def test_every_row_is_verified(run: Path) -> None:
    report = verify(run)
    assert report.counts == {EXACT: 3} and not report.reasons and not report.pictures


def test_another_version_of_a_package_is_told(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "9" if name == "tomesd" else found(name))
    ways, told = Ways(RunDirectory(run).runs()), {}
    for name in ("plain", "cache", "merge"):
        recorded = line(run, f"{name}.png")
        told[name] = ways.reasons(recorded, ways.of(recorded), recorded["model_hash"])
    assert told == {"plain": [], "cache": [], "merge": [f"tomesd {found('tomesd')} then, 9 here"]}


def test_every_picture_is_replayed(run: Path, tmp_path: Path) -> None:
    pictures = sorted((run / "images").glob("*.png"))
    report = replay(read_pictures(pictures, ReplayOptions(out=tmp_path / "again")), Silent())
    assert [one.result for one in report.pictures] == [EXACT] * 3 and report.exit_code == 0
    assert RunDirectory(tmp_path / "again").runs(), "all three were made one way, and lie in one directory"


def test_a_line_that_says_nonsense_is_its_rows_fault(run_job: Runner, tmp_path: Path) -> None:
    run_job({**JOB, "zip": {"accelerate": [{"tome": 0.5}], "n": ["merge"]}}, tmp_path / "run")
    alter(tmp_path / "run", {"merge.png": {"accelerate": '{"tome":2}'}})
    (one,) = verify(tmp_path / "run").pictures
    assert one.result == FAILED and one.about == "RowError: accelerate: tome 2 is not above 0 and at most 0.75"


def test_a_picture_too_small_to_merge_in_fails_alone(run_job: Runner, tmp_path: Path) -> None:
    axes = {"width": [8, 64], "n": ["small", "large"]}
    report = run_job({**JOB, "accelerate": {"tome": 0.5}, "zip": axes}, tmp_path / "run")
    assert (report.made, report.failed) == (1, 1)
    told = RunDirectory(tmp_path / "run").manifest().read().to_pylist()
    assert [one["field_n"] for one in told] == ["large"]
