"""A Ray cluster: joining or starting one, what it has, and whether its nodes would make the same pictures."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

import sdbatch
from sdbatch.errors import UsageError
from sdbatch.render import device

PATIENT = {"OMP_WAIT_POLICY": "PASSIVE"}
"""Threads that wait for each other sleep: those of several actors on the same cores take turns otherwise, each waiting
at full speed for one that has no core. Two actors of two threads took four times as long on two cores."""
ANSWER_SECONDS = 120.0
"""How long the nodes may take to say what they have: their first Python starts then."""


def connect(address: str | None, actors: int | None) -> bool:
    """Join or start a cluster, without its usage report, its banner, or its dashboard; whether it was started."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # torch's threads are set by the worker itself; Ray's OMP_NUM_THREADS=1 would change the bits.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False, "include_dashboard": False}
    address = address or os.environ.get("RAY_ADDRESS")
    if address:
        _reach(address)
        try:
            ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
        except (ConnectionError, ValueError) as error:
            raise UsageError(f"--ray-address {address}: no cluster can be joined there: {_line(error)}") from error
        return False
    os.environ.update(PATIENT)  # the actors' processes have it from here
    # "local": a cluster that somebody else started here is not joined unasked.
    options["address"] = "local"
    # A CPU is a place, not a core: as many as actors are asked for, so that 2 actors fit on 1 core too.
    ray.init(num_cpus=max(os.cpu_count() or 1, actors or 1), **options)
    return True


def _reach(address: str) -> None:
    """See that something listens there: Ray itself tries for minutes, and ends the process then.

    Raises:
        UsageError: nothing does.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdecimal()):
        return  # such as `auto`
    try:
        socket.create_connection((host.strip("[]"), int(port)), ANSWER_SECONDS / 12).close()
    except (OSError, OverflowError) as error:
        raise UsageError(f"--ray-address {address}: no cluster can be joined there: {_line(error)}") from error


def places(share: float) -> int:
    """How many actors the cluster, as it is now, has room for.

    Args:
        share: of a GPU an actor; 0 is a CPU each.
    """
    return _held(ray.cluster_resources(), share)


def free(share: float) -> int:
    """How many more actors could begin at once."""
    return _held(ray.available_resources(), share)


def resources(share: float, count: int) -> dict[str, Any]:
    """Resources of an actor, checked first: Ray would wait for ever for what the cluster does not have.

    Raises:
        UsageError: it has less.
    """
    have = ray.cluster_resources()
    gpus, cpus = have.get("GPU", 0.0), have.get("CPU", 0.0)
    if share and share * count > gpus + 1e-9:
        raise UsageError(f"{count} actors of {share:g} GPU ask for {share * count:g} GPUs; the cluster has {gpus:g}")
    if not share and count > cpus:
        raise UsageError(f"{count} actors ask for {count} CPUs; the cluster has {cpus:g}")
    return {"num_gpus": share, "num_cpus": 0 if share else 1, "max_restarts": 0, "max_task_retries": 0}


def surroundings(*, own: bool, share: float) -> dict[str, Any]:
    """What actors need beside their resources: where files may be, and what their processes have not been given.

    A node of a cluster that was joined is refused where it has no sdbatch, or other versions of what decides pixels.

    Raises:
        UsageError: a node would make other pictures, or cannot make any.
    """
    variables = {name: value for name, value in os.environ.items() if name.startswith("SDBATCH_")}
    if not own:
        variables |= PATIENT
        _agree(_nodes(share))
    return {"runtime_env": {"env_vars": variables}} if variables else {}


def _nodes(share: float) -> dict[str, Mapping[str, str | None]]:
    """Versions by package, None where it is not there, of each node that could hold an actor, by its address and id.

    Raises:
        UsageError: a node does not answer.
    """
    names = ("sdbatch", *device.PACKAGES)

    def versions() -> dict[str, str | None]:
        # By value to where there may be no sdbatch: a function inside another is sent whole.
        from importlib import metadata

        found: dict[str, str | None] = {}
        for name in names:
            try:
                found[name] = metadata.version(name).split("+")[0]
            except metadata.PackageNotFoundError:
                found[name] = None
        return found

    kind = "GPU" if share else "CPU"
    asked: dict[str, tuple[str, Any]] = {}
    for node in ray.nodes():
        if node["Alive"] and node["Resources"].get(kind, 0) > 0:
            strategy = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            options = {"num_cpus": 0, "scheduling_strategy": strategy, "max_retries": 0}
            asked[node["NodeID"]] = node["NodeManagerAddress"], ray.remote(versions).options(**options).remote()
    found: dict[str, Mapping[str, str | None]] = {}
    for name, (address, reference) in asked.items():
        try:
            found[f"{address} ({name[:8]})"] = ray.get(reference, timeout=ANSWER_SECONDS)
        except RayError as error:
            raise UsageError(f"node {address} of the cluster does not say what it has: {_line(error)}") from error
    return found


def _agree(found: Mapping[str, Mapping[str, str | None]]) -> None:
    """See that the nodes have what this machine has.

    Raises:
        UsageError: a node has other versions, or lacks what sdbatch needs.
    """
    wanted = {"sdbatch": sdbatch.__version__, **device.versions()}
    for address, versions in found.items():
        for name, version in wanted.items():
            have = versions[name]
            if have != version:
                raise UsageError(
                    f"node {address} of the cluster has {f'{name} {have}' if have else f'no {name}'}, and this machine "
                    f"{name} {version}: rows would not be the same pictures everywhere; install the same versions"
                )


def _held(have: Mapping[str, float], share: float) -> int:
    return int(have.get("GPU", 0.0) / share + 1e-9) if share else int(have.get("CPU", 0.0))


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
