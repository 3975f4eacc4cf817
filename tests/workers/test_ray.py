"""Ray actors on this machine: they make a job, and one that dies takes nothing with it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

from sdbatch.errors import UsageError

if TYPE_CHECKING:
    from sdbatch import api

pytestmark = pytest.mark.ray
Runner = Callable[..., "api.RunReport"]

JOB: dict[str, Any] = {
    "name": "actors",
    "prompt": "a star",
    "steps": 2,
    "render": {"threads": 1},
    "grid": {"seed": {"range": [0, 24]}},
}


@pytest.fixture
def pids(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Process ids of the actors that a run starts with."""
    import ray

    from sdbatch.workers import ray as pools

    found: list[int] = []

    class Watched(pools.RayPool):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            found.extend(self.pids)

    monkeypatch.setattr(pools, "RayPool", Watched)
    yield found
    assert not ray.is_initialized(), "a run ends the cluster that it started"


def events(directory: Path) -> list[str]:
    return [
        line for line in (directory / "log.jsonl").read_text(encoding="utf-8").splitlines() if "worker_died" in line
    ]


def check(directory: Path, rows: int) -> None:
    table = pd.read_parquet(directory / "manifest")
    assert len(table) == table["row"].nunique() == rows
    assert all((directory / path).is_file() for path in table["path"])
    assert not (directory / "failures").exists()


def test_two_actors_make_a_job(run_job: Runner, pids: list[int], tmp_path: Path) -> None:
    report = run_job({**JOB, "grid": {"seed": {"range": [0, 9]}}}, tmp_path / "run", executor="ray", actors=2)
    assert (report.made, report.left) == (9, 0)
    assert len(set(pids)) == 2 and os.getpid() not in pids
    check(tmp_path / "run", 9)
    assert events(tmp_path / "run") == []


def test_an_actor_that_is_killed_is_replaced_and_no_row_is_lost(
    run_job: Runner, pids: list[int], tmp_path: Path
) -> None:
    directory = tmp_path / "run"
    killed: list[int] = []

    def stopping() -> bool:
        """Asked often; as soon as there is a picture, it kills an actor."""
        if not killed and pids and any(directory.glob("images/*.png")):
            killed.append(pids[0])
            os.kill(pids[0], signal.SIGKILL)
        return False

    report = run_job(JOB, directory, stopping=stopping, executor="ray", actors=2)
    assert killed and len(events(directory)) == 1
    assert (report.made, report.failed, report.left) == (24, 0, 0)
    check(directory, 24)


def test_an_actor_is_replaced_after_so_many_leases(
    run_job: Runner, pids: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four leases, two an actor: two actors, one after the other, and the pixels of a run in one process."""
    from sdbatch.types import LeaseResult
    from sdbatch.workers import ray as pools

    ended: list[int] = []
    following = pools.RayPool.next

    def watched(pool: pools.RayPool) -> Any:
        came = following(pool)
        ended.extend(result.worker["pid"] for result in came if isinstance(result, LeaseResult))
        return came

    monkeypatch.setattr(pools.RayPool, "next", watched)
    job = {**JOB, "render": {"threads": 1, "batch_size": 2}}
    report = run_job(job, tmp_path / "run", recycle=2)  # by itself it asks for actors
    assert (report.made, report.failed, report.left) == (24, 0, 0)
    first, second = dict.fromkeys(ended)
    assert ended == [first, first, second, second] and pids == [first] and os.getpid() not in ended
    check(tmp_path / "run", 24)
    assert events(tmp_path / "run") == []  # none of them died
    run_job(job, tmp_path / "calm")
    wanted, made = (
        pd.read_parquet(tmp_path / name / "manifest").set_index("id")["pixel_sha256"].sort_index()
        for name in ("calm", "run")
    )
    assert made.equals(wanted)


def test_stopped_actors_give_back_what_they_have(run_job: Runner, pids: list[int], tmp_path: Path) -> None:
    directory = tmp_path / "run"
    many = {**JOB, "grid": {"seed": {"range": [0, 400]}}}
    report = run_job(many, directory, stopping=lambda: any(directory.glob("images/*.png")), executor="ray", actors=2)
    assert report.stopped and report.exit_code == 130
    assert 0 < report.made < 400 and report.left == 400 - report.made
    check(directory, report.made)


@pytest.mark.parametrize("asked", [{"actors": 1, "gpus_per_actor": 64}, {"actors": 2, "gpus_per_actor": 63.5}])
def test_more_gpus_than_there_are_is_said_at_once(
    asked: dict[str, Any], run_job: Runner, pids: list[int], tmp_path: Path
) -> None:
    began = time.monotonic()
    with pytest.raises(UsageError, match=r"ask for \d+ GPUs; the cluster has"):
        run_job(JOB, tmp_path / "run", executor="ray", **asked)
    assert time.monotonic() - began < 60


def test_a_cluster_is_joined_only_where_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else may have started one on this machine, which `ray.init` would find by itself."""
    from sdbatch.workers import cluster

    asked: list[dict[str, Any]] = []
    monkeypatch.setattr("ray.init", lambda **options: asked.append(options))
    monkeypatch.setattr(cluster, "_reach", lambda address: None)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    cluster.connect(None, 2)
    cluster.connect("10.0.0.1:6379", 2)
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.2:6379")
    cluster.connect(None, 2)
    assert [one["address"] for one in asked] == ["local", "10.0.0.1:6379", "10.0.0.2:6379"]
    assert ["num_cpus" in one for one in asked] == [True, False, False]
