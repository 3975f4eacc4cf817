"""A cluster of two nodes on this machine, of which one is killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from sdbatch.sources import files
from sdbatch.store import images

if TYPE_CHECKING:
    from sdbatch import api

pytestmark = pytest.mark.ray
Runner = Callable[..., "api.RunReport"]
ROWS = 24
JOB: dict[str, Any] = {
    "name": "nodes",
    "prompt": "a star",
    "steps": 2,
    "render": {"threads": 1, "batch_size": 4},
    "grid": {"seed": {"range": [0, ROWS]}},
}


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A head with one place for an actor. Its nodes and their workers are processes of the test's own."""
    from ray.cluster_utils import Cluster

    # The actors find this project's packages where a fresh interpreter would.
    made = Cluster(initialize_head=True, head_node_args=node(1))
    yield made
    made.shutdown()


def node(places: int) -> dict[str, Any]:
    """A small node's options."""
    return {"num_cpus": places, "object_store_memory": 80_000_000, "include_dashboard": False}


def pixels(directory: Path) -> dict[str, str]:
    table = pd.read_parquet(directory / "manifest")
    assert len(table) == table["row"].nunique()
    assert all((directory / path).is_file() for path in table["path"])
    return dict(zip(table["id"], table["pixel_sha256"], strict=True))


def test_actors_follow_the_links_that_the_run_may_follow(
    cluster: Any, run_job: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cluster was started without `SDBATCH_ROOTS`."""
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "a.png").write_bytes(images.plain("mask", np.full((64, 64, 3), 255, np.uint8)))
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "a.png").symlink_to(tmp_path / "else" / "a.png")
    job = {**JOB, "mode": "img2img", "image": "a.png", "grid": {"seed": {"range": [0, 2]}}}
    for roots, made in (("", 0), (str(tmp_path / "else"), 2)):
        monkeypatch.setenv(files.ROOTS, roots)
        report = run_job(job, tmp_path / "jobs" / "run", executor="ray", ray_address=cluster.address, actors=1)
        assert (report.made, report.failed) == (made, 2 - made), roots


@pytest.mark.parametrize("spare", [1, 0], ids=["another node has a place", "no other node has a place"])
def test_a_node_that_is_killed_takes_no_row_with_it(spare: int, cluster: Any, run_job: Runner, tmp_path: Path) -> None:
    """Its raylet is killed, and the actors under it die with it."""
    doomed = cluster.add_node(**node(1))
    for _ in range(spare):
        cluster.add_node(**node(1))
    directory = tmp_path / "run"
    killed: list[int] = []

    def stopping() -> bool:
        """Asked often; as soon as two leases are done, it kills the node."""
        if not killed and len(list(directory.glob("manifest/*.parquet"))) >= 2:
            (raylet,) = doomed.all_processes["raylet"]
            killed.append(raylet.process.pid)
            os.kill(killed[0], signal.SIGKILL)
        return False

    report = run_job(JOB, directory, stopping=stopping, executor="ray", ray_address=cluster.address, actors=2 + spare)
    assert killed
    assert (report.made, report.failed, report.left) == (ROWS, 0, 0)
    run_job(JOB, tmp_path / "calm")
    assert pixels(directory) == pixels(tmp_path / "calm")
