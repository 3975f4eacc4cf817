"""A pull asks the hub anew, fetches what is lacking, and hands over what it found."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sdbatch import api
from sdbatch.errors import ModelError, UsageError

NAME = "owner/control"
FILES = {
    "config.json": json.dumps({"_class_name": "ControlNetModel"}).encode(),
    "diffusion_pytorch_model.safetensors": b"weights",
}


@pytest.fixture
def hub(fakehub: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A hub with one ControlNet."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with fakehub.serve() as hub:
        fakehub.reach(monkeypatch, hub.url)
        hub.put(NAME, FILES)
        yield hub


def test_what_is_pulled_is_said(hub: Any) -> None:
    found = api.pull(NAME)
    commit = hub.refs[NAME]["main"]
    assert (found["name"], found["revision"], found["kind"], found["modes"]) == (NAME, commit, "controlnet", [])
    assert {file.name: file.read_bytes() for file in Path(found["path"]).iterdir()} == FILES
    model = api.model(NAME)
    assert (model["hash"], model["revision"], model["path"]) == (found["hash"], commit, found["path"])
    assert {"name": NAME, "revision": commit}.items() <= api.models()[-1].items()


def test_a_branch_is_looked_up_anew_and_a_commit_is_not_moved(hub: Any) -> None:
    first = api.pull(NAME)["revision"]
    second = hub.put(NAME, {**FILES, "diffusion_pytorch_model.safetensors": b"others"}, 2)
    assert api.pull(NAME)["revision"] == second
    assert api.pull(NAME, first)["revision"] == first
    assert api.model(NAME)["revision"] == second


def test_a_pull_fetches_what_a_run_does_without(hub: Any, fakehub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = "safety_checker/model.safetensors"
    index = {
        "_class_name": "StableDiffusionPipeline",
        "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
        "unet": ["diffusers", "UNet2DConditionModel"],
    }
    unet = {"unet/config.json": b"{}", "unet/diffusion_pytorch_model.safetensors": b"weights"}
    checker = {"safety_checker/config.json": b"{}", weights: b"checker"}
    commit = hub.put("owner/sd", {"model_index.json": json.dumps(index).encode(), **unet, **checker})
    folder = Path(api.pull("owner/sd")["path"])
    (folder / weights).unlink()
    hub.asked.clear()
    assert api.model("owner/sd", commit)["revision"] == commit
    assert hub.asked == [] and not (folder / weights).exists()
    api.pull("owner/sd", commit)
    assert (folder / weights).read_bytes() == b"checker"


def test_without_the_hub_only_what_is_here_is_pulled(hub: Any, fakehub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = api.pull(NAME)["revision"]
    hub.status = 503
    assert api.pull(NAME, commit)["revision"] == commit
    with pytest.raises(ModelError, match="answered with HTTP 503"):
        api.pull(NAME)
    fakehub.reach(monkeypatch, hub.url, offline=True)
    assert api.pull(NAME)["revision"] == commit
    with pytest.raises(ModelError, match="'v2' is not in the local cache, and HF_HUB_OFFLINE is set"):
        api.pull(NAME, "v2")


@pytest.mark.parametrize("name", ["demo", "./control", "/control", "control", "a/b/c", "owner/", "-x/y"])
def test_what_is_none_of_the_hubs_is_said(name: str, hub: Any) -> None:
    with pytest.raises(UsageError, match=r"nothing to pull|not a Hugging Face id \(owner/name\)"):
        api.pull(name)
    assert hub.asked == []
