"""A job's script for Slurm and its manifest for KubeRay; nothing is submitted."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from sdbatch.api.scheduling import Scheduled
from sdbatch.errors import UsageError

WARNING_SECONDS = 300
"""How long before its end Slurm says so to a job: a batch of large pictures takes less."""
PORTS = (20_000, 20_000)
"""First port, and how many: which of them a job's Ray listens on follows from the job's number."""


@dataclass(frozen=True)
class Nodes:
    """What a job is given.

    Attributes:
        count: machines.
        gpus: GPUs a machine; as many actors run there.
        cpus: CPUs a machine.
        memory: of a machine, as Kubernetes writes it, such as `32Gi`.
    """

    count: int = 1
    gpus: int = 1
    cpus: int = 8
    memory: str = "32Gi"

    def __post_init__(self) -> None:
        for name, value in (("--nodes", self.count), ("--gpus-per-node", self.gpus), ("--cpus-per-node", self.cpus)):
            if value < 1:
                raise UsageError(f"{name} {value}: at least 1")
        if not re.fullmatch(r"[1-9]\d*(Mi|Gi|Ti|M|G|T)", self.memory):
            raise UsageError(f"--memory-per-node {self.memory!r}: a number and Gi, such as 32Gi")


def slurm(job: Scheduled, nodes: Nodes, minutes: int | None) -> str:
    """A script for `sbatch`: Ray on all nodes of the job, and a run that goes on in the next job where time was short.

    Args:
        minutes: that the job may take; None is what the partition allows.
    """
    program = job.command[0]
    ray = shlex.quote(str(Path(program).parent / "ray")) if Path(program).is_absolute() else "ray"
    options = {
        "job-name": f"sdbatch-{_plain(job.name)}",
        "nodes": nodes.count,
        "ntasks-per-node": 1,
        "gpus-per-node": nodes.gpus,
        "cpus-per-task": nodes.cpus,
        "mem": _slurm_memory(nodes.memory),
        **({} if minutes is None else {"time": minutes}),
        "signal": f"B:INT@{WARNING_SECONDS}",
        "open-mode": "append",
        "output": _slurm_path(job.log),
    }
    lines = ["#!/bin/bash", *(f"#SBATCH --{name}={value}" for name, value in options.items()), "#SBATCH --requeue"]
    lines += ["", f"cd {shlex.quote(str(job.folder))} || exit 2"]
    command = shlex.join(job.command)
    if nodes.count > 1:
        lines += _ray(ray, nodes)
        command += ' --executor ray --ray-address "$address"'
    lines += [
        "",
        "# The time is nearly up: the batch in hand is finished and saved.",
        f"{command} &",
        "run=$!",
        "trap 'kill -TERM $run' INT TERM",
        "wait $run; code=$?",
        "# A signal ends the waiting, not the run.",
        "while kill -0 $run 2>/dev/null; do wait $run; code=$?; done",
        "# Stopped, or the time was up: the same job again, which goes on.",
        'if [ $code -eq 130 ] || [ $code -eq 75 ]; then scontrol requeue "$SLURM_JOB_ID"; fi',
        "exit $code",
    ]
    return "\n".join(lines) + "\n"


def _ray(ray: str, nodes: Nodes) -> list[str]:
    """Ray on every node, and the address in `$address`."""
    first, count = PORTS
    start = f"{ray} start --block --num-gpus={nodes.gpus} --num-cpus={nodes.cpus} --disable-usage-stats"
    return [
        "# Only who has this token may give the nodes work.",
        "RAY_AUTH_TOKEN=$(head -c 32 /dev/urandom | base64 | tr -d '/+=\\n')",
        "export RAY_AUTH_MODE=token RAY_AUTH_TOKEN",
        'head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)',
        f"address=$(getent hosts \"$head\" | cut -d' ' -f1):$(({first} + SLURM_JOB_ID % {count}))",
        f'srun --overlap --nodes=1 --ntasks=1 -w "$head" {start} --head --port="${{address##*:}}" \\',
        '    --node-ip-address="${address%:*}" &',
        f'srun --overlap --nodes={nodes.count - 1} --ntasks={nodes.count - 1} --exclude="$head" \\',
        f'    bash -c \'sleep 20; exec {start} --address="$0"\' "$address" &',
        "# Nodes that come late are used as soon as they are there.",
        "for _ in $(seq 60); do",
        f'    {ray} status --address="$address" >/dev/null 2>&1 && break',
        "    sleep 2",
        "done",
    ]


def kuberay(job: Scheduled, nodes: Nodes, image: str, claim: str, mount: Path | None = None) -> str:
    """A `RayJob` of KubeRay (ray.io/v1), as YAML.

    The head has GPUs as the others have, since the run decides there how rows are made. A run that fails or is out of
    time is begun anew, and goes on.

    Args:
        image: has sdbatch and Ray in it.
        claim: the volume claim on which spec, models and run directory lie.
        mount: where it lies in the containers; None is the spec's folder.

    Raises:
        UsageError: the run directory or the spec does not lie on it.
    """
    folder = mount or job.folder
    for path in [Path(text) for text in job.command[2:] if text.startswith("/")]:
        if not path.is_relative_to(folder):
            raise UsageError(f"--mount {folder}: {path} does not lie on it, so no container would see it")
    name = _plain(f"sdbatch-{job.name}").lower()[:40].strip("-")
    command = ["sdbatch", *job.command[1:], "--executor", "ray", "--ray-address", "auto"]
    manifest = {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": {"name": name},
        "spec": {
            "entrypoint": shlex.join(command),
            "shutdownAfterJobFinishes": True,
            "ttlSecondsAfterFinished": 600,
            "backoffLimit": 10,
            "rayClusterSpec": {
                "rayVersion": metadata.version("ray"),
                "headGroupSpec": {
                    "rayStartParams": {"num-gpus": str(nodes.gpus)},
                    "template": _pod("ray-head", nodes, image, claim, folder),
                },
                "workerGroupSpecs": [
                    {
                        "groupName": "gpus",
                        "replicas": nodes.count - 1,
                        "minReplicas": 0,
                        "maxReplicas": max(1, nodes.count - 1),
                        "rayStartParams": {"num-gpus": str(nodes.gpus)},
                        "template": _pod("ray-worker", nodes, image, claim, folder),
                    }
                ],
            },
        },
    }
    return yaml.safe_dump(manifest, sort_keys=False, width=120)


def _pod(name: str, nodes: Nodes, image: str, claim: str, folder: Path) -> dict[str, Any]:
    limits = {"cpu": str(nodes.cpus), "memory": nodes.memory, "nvidia.com/gpu": str(nodes.gpus)}
    container = {
        "name": name,
        "image": image,
        "workingDir": str(folder),
        "resources": {"limits": limits, "requests": dict(limits)},
        "volumeMounts": [{"name": "data", "mountPath": str(folder)}],
    }
    return {
        "spec": {
            "containers": [container],
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": claim}}],
        }
    }


def _plain(text: str) -> str:
    """A name that Slurm and Kubernetes take."""
    return re.sub(r"[^A-Za-z0-9-]+", "-", text).strip("-") or "job"


def _slurm_path(path: Path) -> str:
    """As `--output` has it, where `%` begins a field."""
    text = str(path).replace("%", "%%")
    if any(character.isspace() for character in text):
        raise UsageError(f"{path}: Slurm takes no blanks in the path of a log: rename the spec or its folder")
    return text


def _slurm_memory(text: str) -> str:
    return re.sub(r"i?$", "", text)
