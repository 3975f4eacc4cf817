"""Clusters that others keep: what they must have, who joins and leaves, and how the code gets there."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

import sdbatch
from sdbatch.errors import UsageError
from sdbatch.render import device
from sdbatch.workers import cluster as clusters

if TYPE_CHECKING:
    from sdbatch import api

Runner = Callable[..., "api.RunReport"]
HERE = {"sdbatch": sdbatch.__version__, **device.versions()}
JOB: dict[str, Any] = {
    "name": "cluster",
    "prompt": "a star",
    "steps": 2,
    "render": {"threads": 1, "batch_size": 2},
    "grid": {"seed": {"range": [0, 8]}},
}


def test_nodes_that_have_the_same_need_nothing() -> None:
    clusters._agree({"a": HERE, "b": HERE})


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"torch": "2.0.0"}, rf"node b of the cluster has torch 2\.0\.0, and this machine torch {HERE['torch']}"),
        ({"sdbatch": None}, "node b of the cluster has no sdbatch"),
        ({"diffusers": None}, "node b of the cluster has no diffusers, and this machine diffusers"),
        ({"sdbatch": "9.9.9"}, r"has sdbatch 9\.9\.9, .*: rows would not be the same pictures everywhere"),
    ],
)
def test_nodes_that_have_others_are_refused(other: dict[str, str | None], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        clusters._agree({"a": HERE, "b": {**HERE, **other}})


@pytest.mark.parametrize(("have", "share", "held"), [
    ({"GPU": 4.0}, 0.5, 8), ({"GPU": 0.9}, 0.3, 3), ({"GPU": 1.0}, 0.75, 1), ({"CPU": 3.0}, 0.0, 3), ({"CPU": 9}, 1, 0),
])  # fmt: skip
def test_how_many_actors_there_is_room_for(have: dict[str, float], share: float, held: int) -> None:
    assert clusters._held(have, share) == held


def test_an_address_where_nothing_listens_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr("ray.init", lambda **options: asked.append(options["address"]))
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        clusters.connect(f"127.0.0.1:{port}", 1)
    with pytest.raises(UsageError, match=rf"--ray-address 127\.0\.0\.1:{port}: no cluster can be joined there"):
        clusters.connect(f"127.0.0.1:{port}", 1)
    clusters.connect("auto", 1)
    assert asked == [f"127.0.0.1:{port}", "auto"]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A head with one GPU that is only said to be there."""
    from ray.cluster_utils import Cluster

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    made = Cluster(initialize_head=True, head_node_args=node(1))
    yield made
    made.shutdown()


def node(gpus: int) -> dict[str, Any]:
    return {"num_cpus": 2, "num_gpus": gpus, "object_store_memory": 80_000_000, "include_dashboard": False}


@pytest.fixture
def pools(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The pools that runs make, and what they say."""
    from sdbatch.workers import ray as actors

    found: list[Any] = []

    class Watched(actors.RayPool):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            self.begun = len(self)
            found.append(self)

    monkeypatch.setattr(actors, "RayPool", Watched)
    monkeypatch.setattr(actors, "LOOK_SECONDS", 0.2)
    return found


def whole(directory: Path, rows: int) -> None:
    table = pd.read_parquet(directory / "manifest")
    assert len(table) == table["row"].nunique() == rows and not (directory / "failures").exists()


@pytest.mark.ray
def test_shares_of_a_gpu_decide_how_many_actors_there_are(
    cluster: Any, run_job: Runner, pools: list[Any], tmp_path: Path
) -> None:
    cluster.add_node(**node(1))
    report = run_job(JOB, tmp_path / "run", executor="ray", ray_address=cluster.address, gpus_per_actor=0.5)
    assert report.made == 8 and pools[0].begun == 4
    whole(tmp_path / "run", 8)
    with pytest.raises(UsageError, match=r"5 actors of 0\.5 GPU ask for 2\.5 GPUs; the cluster has 2"):
        run_job(JOB, tmp_path / "more", executor="ray", ray_address=cluster.address, gpus_per_actor=0.5, actors=5)


@pytest.mark.ray
def test_a_node_that_joins_is_used(cluster: Any, run_job: Runner, pools: list[Any], tmp_path: Path) -> None:
    directory = tmp_path / "run"
    job = {**JOB, "steps": 20, "grid": {"seed": {"range": [0, 2000]}}}
    added: list[float] = []

    def stopping() -> bool:
        """After the first lease a node joins; once its actor has ended a lease, that is enough."""
        if not added and any(directory.glob("manifest/*.parquet")):
            cluster.add_node(**node(1))
            added.append(time.monotonic())
        late = bool(added) and time.monotonic() - added[0] > 90
        return late or any(seat.ended for pool in pools for seat in pool._seats[1:])

    report = run_job(job, directory, stopping=stopping, executor="ray", ray_address=cluster.address, gpus_per_actor=1)
    assert pools[0].begun == 1 and [bool(seat.ended) for seat in pools[0]._seats] == [True, True]
    assert report.stopped and report.failed == 0
    whole(directory, report.made)


@pytest.mark.ray
def test_actors_that_find_no_place_hold_nothing_up(
    cluster: Any, run_job: Runner, pools: list[Any], tmp_path: Path
) -> None:
    """Another job has one of the two GPUs, so that one of two actors waits; what it was given goes to the other."""
    import ray

    cluster.add_node(**node(1))
    ray.init(address=cluster.address, logging_level="ERROR", log_to_driver=False)
    try:
        other = ray.remote(num_gpus=1)(_Other).remote()
        ray.get(other.there.remote())
        report = run_job(JOB, tmp_path / "run", executor="ray", ray_address=cluster.address, gpus_per_actor=1)
        assert report.made == 8 and sorted(bool(seat.ended) for seat in pools[0]._seats) == [False, True]
        whole(tmp_path / "run", 8)
    finally:
        ray.shutdown()


class _Other:
    def there(self) -> bool:
        return True
