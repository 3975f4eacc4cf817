"""sdbatch models as a user meets it: what goes to which stream, and what each refusal says."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., subprocess.CompletedProcess[str]]
NAME = "owner/tiny"


@pytest.fixture
def hub(fakehub: Any, tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A hub with a whole model, and an empty cache: what commands started from here know."""
    with fakehub.serve() as hub:
        hub.put(NAME, fakehub.read(tiny.sd(tmp_path / "made")))
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
        monkeypatch.setenv("HF_HUB_OFFLINE", "0")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        for name in ("HF_HUB_CACHE", "HF_TOKEN"):
            monkeypatch.delenv(name, raising=False)
        yield hub


def printed(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert isinstance(found, dict) and found["schema"] == 1
    return found


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """The one line that a command ended with."""
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("sdbatch: ")
    return line


@pytest.mark.slow
def test_pull_then_work_without_the_hub(
    hub: Any, sdbatch: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = hub.refs[NAME]["main"]
    folder = tmp_path / "hf" / "hub" / "models--owner--tiny" / "snapshots" / commit
    done = sdbatch("models", "pull", NAME)
    assert (done.returncode, done.stdout) == (0, f"{commit} {folder}\n"), done.stderr
    assert done.stderr.startswith(f"{NAME} at {commit[:12]}: ") and "MB to fetch" in done.stderr
    assert len(done.stderr.splitlines()) == 1, "no bar where there is no terminal"
    hub.asked.clear()
    again = sdbatch("models", "pull", NAME, "--json")
    report = printed(again)
    assert (report["revision"], report["path"], report["kind"], report["fetched"]) == (commit, str(folder), "sd", 0)
    assert again.stderr == "" and len(hub.asked) == 1
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    hub.asked.clear()
    listed = {model["name"]: model for model in printed(sdbatch("models", "list", "--json"))["models"]}
    assert listed[NAME]["revision"] == commit and "txt2img" in listed[NAME]["modes"]
    assert listed["demo"]["kind"] == "sd"
    info = printed(sdbatch("models", "info", NAME, "--json"))
    assert (info["hash"], info["revision"]) == (report["hash"], commit)
    assert sdbatch("models", "hash", NAME).stdout == report["hash"] + "\n"
    assert hub.asked == []


@pytest.mark.slow
def test_a_run_of_a_hub_model_fetches_it_and_goes_on_without_the_hub(
    hub: Any, sdbatch: Command, write: Callable[[str, str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = hub.refs[NAME]["main"]
    job = f"model: {NAME}\nprompt: a star\nsteps: 2\nseed: 1\nrender: {{threads: 1}}\n"
    write("job.yaml", job)
    done = sdbatch("run", "job.yaml", "--out", "run", "--json", timeout=300)
    assert f"{NAME} at {commit[:12]}: " in done.stderr and "to fetch" in done.stderr
    first = printed(done)
    assert (first["made"], first["failed"]) == (1, 0)
    (noted,) = json.loads((tmp_path / "run" / "runs.jsonl").read_text().splitlines()[0])["models"]
    assert (noted["name"], noted["revision"]) == (NAME, commit)
    hub.put(NAME, {**hub.repos[NAME][commit], "unet/config.json": b"{"}, 2)
    write("job.yaml", job.replace("seed: 1", "seed: {range: [1, 3]}"))
    second = printed(sdbatch("run", "job.yaml", "--out", "run", "--json", timeout=300))
    assert (second["made"], second["done"]) == (1, 2), "the directory keeps the commit that it began with"
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    third = printed(sdbatch("run", "job.yaml", "--out", "run", "--json"))
    assert (third["made"], third["left"]) == (0, 0)


def test_what_a_lone_part_is_for_is_said(sdbatch: Command) -> None:
    assert "modes      (named by `controlnet`)" in sdbatch("models", "info", "demo-controlnet").stdout
    assert "modes      inpaint, outpaint" in sdbatch("models", "info", "demo-inpaint").stdout
    lines = {line.split()[0]: line for line in sdbatch("models", "list").stdout.splitlines()}
    assert "(named by `controlnet`)" in lines["demo-controlnet"] and "depth2img" in lines["demo-depth"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((NAME, "--revision", "v9"), f"model {NAME!r}: the repository has no revision 'v9'"),
        (("owner/none",), "no such repository at http://127.0.0.1:"),
        (("demo",), "'demo' is on this machine already, and not from the hub: nothing to pull"),
        (("./tiny",), "not a Hugging Face id (owner/name); only those are pulled"),
    ],
)
def test_what_cannot_be_pulled_is_said(arguments: tuple[str, ...], says: str, hub: Any, sdbatch: Command) -> None:
    assert says in refused(sdbatch("models", "pull", *arguments))


def test_offline_a_model_that_is_not_here_is_said(hub: Any, sdbatch: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    line = refused(sdbatch("models", "info", NAME, "--revision", "v1"))
    assert line.endswith(f"where there is a network, sdbatch models pull {NAME} --revision v1 fetches it")
    assert "HF_HUB_OFFLINE is set" in line and hub.asked == []


@pytest.mark.slow
def test_convert(sdbatch: Command, tmp_path: Path) -> None:
    import torch

    torch.save({"state_dict": {"a": torch.ones(2)}}, tmp_path / "my model.ckpt")
    line = refused(sdbatch("models", "info", "my model.ckpt"))
    command = line.split("sdbatch models ")[1].split(" makes")[0]
    assert command == f"convert '{tmp_path / 'my model.ckpt'}'", "it can be pasted"
    done = sdbatch("models", "convert", "my model.ckpt")
    assert (done.returncode, done.stdout) == (0, "my model.safetensors\n"), done.stderr
    assert "exists already; --force overwrites it" in refused(sdbatch("models", "convert", "my model.ckpt"))
    report = printed(sdbatch("models", "convert", "my model.ckpt", "--to", "b.safetensors", "--json"))
    assert report["written"] == ["b.safetensors"]
    assert (tmp_path / "b.safetensors").read_bytes() == (tmp_path / "my model.safetensors").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("parameter", "name", "held"),
    [
        ("embeddings", "word.pt", {"string_to_param": {"*": [[0.5] * 64]}, "name": "word"}),
        ("hypernetwork", "style.pt", {}),
        ("loras", "look.bin", {}),
    ],
)
def test_a_fine_tune_that_is_a_pickle_is_refused_with_the_command(
    parameter: str, name: str, held: dict[str, Any], sdbatch: Command, write: Callable[[str, str], Path], tmp_path: Path
) -> None:
    import torch

    (tmp_path / name).write_bytes(b"")
    if held:
        param = {key: torch.tensor(value) for key, value in held["string_to_param"].items()}
        torch.save({**held, "string_to_param": param}, tmp_path / name)
    value = name if parameter == "hypernetwork" else [name]
    write("job.yaml", json.dumps({"prompt": "a star", "seed": 1, parameter: value}))
    done = sdbatch("validate", "job.yaml")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    command = f"`sdbatch models convert {tmp_path / name}`"
    assert command in done.stdout + done.stderr
    if held:
        made = sdbatch("models", "convert", name)
        assert made.returncode == 0, made.stderr
        write(
            "job.yaml",
            json.dumps({"prompt": "a star", "seed": 1, parameter: [str(Path(name).with_suffix(".safetensors"))]}),
        )
        sound = sdbatch("validate", "job.yaml")
        assert sound.returncode == 0, sound.stdout + sound.stderr
