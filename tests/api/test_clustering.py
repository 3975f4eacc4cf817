"""Scripts for Slurm and manifests for KubeRay: what they start, how they end, and who sees the files."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from sdbatch.api import clustering, scheduling
from sdbatch.api.clustering import Nodes
from sdbatch.errors import UsageError

JOB = "prompt: a star\nsteps: 1\n"
TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
POD: dict[str, Any] = {
    "type": "object",
    "required": ["spec"],
    "additionalProperties": False,
    "properties": {
        "spec": {
            "type": "object",
            "required": ["containers"],
            "additionalProperties": False,
            "properties": {
                "containers": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["name", "image"],
                        "additionalProperties": False,
                        "properties": {
                            "name": {"type": "string", "pattern": "^[a-z0-9-]{1,63}$"},
                            "image": {"type": "string"},
                            "workingDir": {"type": "string"},
                            "resources": {
                                "type": "object",
                                "additionalProperties": False,
                                "properties": {"limits": TEXTS, "requests": TEXTS},
                            },
                            "volumeMounts": {"type": "array", "items": {**TEXTS, "required": ["name", "mountPath"]}},
                        },
                    },
                },
                "volumes": {"type": "array", "items": {"type": "object", "required": ["name"]}},
            },
        }
    },
}
RAY_JOB: dict[str, Any] = {
    "type": "object",
    "required": ["apiVersion", "kind", "metadata", "spec"],
    "additionalProperties": False,
    "properties": {
        "apiVersion": {"const": "ray.io/v1"},
        "kind": {"const": "RayJob"},
        "metadata": {
            "type": "object",
            "additionalProperties": False,
            "properties": {"name": {"type": "string", "pattern": "^[a-z0-9]([a-z0-9-]{0,45}[a-z0-9])?$"}},
        },
        "spec": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "entrypoint": {"type": "string"},
                "shutdownAfterJobFinishes": {"type": "boolean"},
                "ttlSecondsAfterFinished": {"type": "integer"},
                "backoffLimit": {"type": "integer"},
                "rayClusterSpec": {
                    "type": "object",
                    "required": ["headGroupSpec"],
                    "additionalProperties": False,
                    "properties": {
                        "rayVersion": {"type": "string"},
                        "headGroupSpec": {
                            "type": "object",
                            "required": ["template"],
                            "additionalProperties": False,
                            "properties": {"rayStartParams": TEXTS, "template": POD},
                        },
                        "workerGroupSpecs": {
                            "type": "array",
                            "items": {
                                "type": "object",
                                "required": ["groupName", "template", "minReplicas", "maxReplicas"],
                                "additionalProperties": False,
                                "properties": {
                                    "groupName": {"type": "string"},
                                    "replicas": {"type": "integer", "minimum": 0},
                                    "minReplicas": {"type": "integer", "minimum": 0},
                                    "maxReplicas": {"type": "integer", "minimum": 1},
                                    "rayStartParams": TEXTS,
                                    "template": POD,
                                },
                            },
                        },
                    },
                },
            },
        },
    },
}
"""What of KubeRay's own definition of a RayJob is used: names, types, what must be there."""


@pytest.fixture
def job(write: Callable[[str, str], Path], tmp_path: Path) -> scheduling.Scheduled:
    return scheduling.scheduled(write("jobs/My job.yaml", JOB), out=tmp_path / "jobs" / "runs" / "a b")


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/bash\n{text}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of programs that write down how they are called, as a node of Slurm has them."""
    folder = tmp_path / "programs"
    for name in ("srun", "scontrol", "ray", "getent"):
        said = {"scontrol": "echo node-1; echo node-2", "getent": "echo 10.0.0.7 node-1"}.get(name, "")
        program(folder / name, f'echo "{name} $*" >> {folder}/calls; {said}')
    program(
        folder / "sdbatch",
        f'echo "sdbatch $*" >> {folder}/calls; trap "echo stopped >> {folder}/calls; exit 130" TERM\n'
        'for _ in $(seq "${SLOW:-0}"); do sleep 0.1; done; exit "$CODE"',
    )
    monkeypatch.setattr(scheduling, "program", lambda: [str(folder / "sdbatch")])
    return folder


def started(script: str, machine: Path, **variables: str) -> subprocess.Popen[bytes]:
    path = machine / "job.sh"
    path.write_text(script, encoding="utf-8")
    subprocess.run(["bash", "-n", path], check=True)
    found = {"PATH": f"{machine}:{os.environ['PATH']}", "SLURM_JOB_ID": "4711", "SLURM_JOB_NODELIST": "node-[1-2]"}
    return subprocess.Popen(["bash", path], env={**found, **variables}, cwd=machine)


def calls(machine: Path) -> list[str]:
    return (machine / "calls").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize(("code", "again"), [(0, False), (1, False), (2, False), (75, True), (130, True)])
def test_one_machine_runs_it_and_is_asked_for_again_where_rows_are_left(
    write: Callable[[str, str], Path], machine: Path, code: int, again: bool
) -> None:
    made = scheduling.scheduled(write("jobs/a.yaml", JOB))
    process = started(clustering.slurm(made, Nodes(), None), machine, CODE=str(code))
    assert process.wait(20) == code
    first, *more = calls(machine)
    assert first.startswith("sdbatch run ") and shlex.split(first)[2] == str(made.folder / "a.yaml")
    assert more == (["scontrol requeue 4711"] if again else [])


def test_slurms_warning_stops_the_run_and_waits_for_it(write: Callable[[str, str], Path], machine: Path) -> None:
    made = scheduling.scheduled(write("jobs/a.yaml", JOB))
    process = started(clustering.slurm(made, Nodes(), 60), machine, CODE="0", SLOW="100")
    for _ in range(100):
        if (machine / "calls").exists():
            break
        time.sleep(0.05)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)  # by which of the two, an administrator may have set
    assert process.wait(20) == 130
    assert calls(machine)[1:] == ["stopped", "scontrol requeue 4711"]


def test_several_machines_have_ray_first(write: Callable[[str, str], Path], machine: Path) -> None:
    made = scheduling.scheduled(write("jobs/a.yaml", JOB))
    process = started(clustering.slurm(made, Nodes(3, gpus=4), None), machine, CODE="0")
    assert process.wait(60) == 0
    found = calls(machine)
    address = f"10.0.0.7:{20_000 + 4711}"
    head, others = (next(call for call in found if what in call) for what in ("--head", "--exclude"))
    assert head.startswith("srun --overlap --nodes=1 --ntasks=1 -w node-1 ") and "--num-gpus=4" in head
    assert head.endswith(f"--port={20_000 + 4711} --node-ip-address=10.0.0.7")
    assert "--nodes=2 --ntasks=2 --exclude=node-1" in others and others.endswith(address)
    run = next(call for call in found if call.startswith("sdbatch run"))
    assert run.endswith(f"--executor ray --ray-address {address}")


def test_shellcheck_finds_nothing(write: Callable[[str, str], Path], tmp_path: Path) -> None:
    made = scheduling.scheduled(write("jobs/it's.yaml", JOB), out=tmp_path / "runs" / "a $b")
    for nodes in (Nodes(), Nodes(3)):
        path = tmp_path / "job.sh"
        path.write_text(clustering.slurm(made, nodes, 60), encoding="utf-8")
        done = subprocess.run(
            [Path(sys.executable).with_name("shellcheck"), "-S", "warning", path],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout


def test_what_slurm_is_asked_for(write: Callable[[str, str], Path]) -> None:
    made = scheduling.scheduled(write("50%/a.yaml", JOB))
    text = clustering.slurm(made, Nodes(2, 8, 64, "512Gi"), 130)
    asked = dict(line.removeprefix("#SBATCH --").partition("=")[::2] for line in text.splitlines() if "#SBATCH" in line)
    assert asked.items() >= {"nodes": "2", "gpus-per-node": "8", "cpus-per-task": "64", "mem": "512G"}.items()
    assert asked["time"] == "130" and asked["output"].endswith("50%%/a.log") and "requeue" in asked


def test_slurm_takes_no_blank_in_a_log(write: Callable[[str, str], Path]) -> None:
    with pytest.raises(UsageError, match="no blanks"):
        clustering.slurm(scheduling.scheduled(write("my jobs/a.yaml", JOB)), Nodes(), None)


def test_a_manifest_is_a_ray_job(job: scheduling.Scheduled) -> None:
    for count in (1, 4):
        made = yaml.safe_load(clustering.kuberay(job, Nodes(count, gpus=2), "me/sdbatch:1", "data"))
        jsonschema.validate(made, RAY_JOB)
        spec = made["spec"]["rayClusterSpec"]
        assert spec["workerGroupSpecs"][0]["replicas"] == count - 1
        assert made["metadata"]["name"] == "sdbatch-my-job"
        words = shlex.split(made["spec"]["entrypoint"])
        assert words[:2] == ["sdbatch", "run"] and words[2:5] == [*job.command[2:]][:3]
        assert words[-4:] == ["--executor", "ray", "--ray-address", "auto"]
        for pod in (spec["headGroupSpec"]["template"], spec["workerGroupSpecs"][0]["template"]):
            (container,) = pod["spec"]["containers"]
            assert container["resources"]["limits"]["nvidia.com/gpu"] == "2"
            assert container["volumeMounts"][0]["mountPath"] == str(job.folder)


def test_what_no_container_would_see_is_refused(job: scheduling.Scheduled, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not lie on it"):
        clustering.kuberay(job, Nodes(), "i", "c", tmp_path / "elsewhere")
    clustering.kuberay(job, Nodes(), "i", "c", tmp_path)


@pytest.mark.parametrize(
    "wrong", [{"count": 0}, {"gpus": 0}, {"cpus": -1}, {"memory": "32"}, {"memory": "0Gi"}, {"memory": "32Gi; rm"}]
)
def test_machines_that_there_are_not(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"-per-node|--nodes"):
        Nodes(**wrong)


@pytest.mark.parametrize(
    "options", [[], ["--cron", "@daily", "--slurm"], ["--slurm", "--kuberay"], ["--systemd"], ["--kuberay"]]
)
def test_one_of_them_at_a_time(sdbatch: Any, write: Callable[[str, str], Path], options: list[str]) -> None:
    done = sdbatch("schedule", write("a.yaml", JOB), *options)
    assert done.returncode == 2 and "--" in done.stderr and "Traceback" not in done.stderr
