"""What a worker writes by: the fingerprint says how pictures were made, and nothing else does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sdbatch.render import device
from sdbatch.render.device import Device
from sdbatch.sources.names import Sources
from sdbatch.types import Output, Render
from sdbatch.workers.task import Task
from sdbatch.workers.writing import Writer

RENDER = Render(4, 2, "float32", "cpu", "sdpa", False, False, "auto", "degrade")


def task(tmp_path: Path, **changes: Any) -> Task:
    return replace(Task("run1", tmp_path, tmp_path, RENDER, Output(), 0, {}), **changes)


def fingerprint(tmp_path: Path, size: int = 4, model: str = "ab", **changes: Any) -> str:
    at_work = task(tmp_path, **changes)
    return Writer(at_work, Sources(at_work.base)).fingerprint(size, model)


CHANGES: dict[str, Callable[[Path], str]] = {
    "size": lambda path: fingerprint(path, size=2),
    "model": lambda path: fingerprint(path, model="cd"),
    "dtype": lambda path: fingerprint(path, render=replace(RENDER, dtype="bfloat16")),
    "threads": lambda path: fingerprint(path, render=replace(RENDER, threads=3)),
    "attention": lambda path: fingerprint(path, render=replace(RENDER, attention="eager")),
    "compile": lambda path: fingerprint(path, render=replace(RENDER, compile=True)),
    "vram": lambda path: fingerprint(path, render=replace(RENDER, vram="low")),
    "vae_tiling": lambda path: fingerprint(path, render=replace(RENDER, vae_tiling=True)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_bits_changes_the_fingerprint(change: str, tmp_path: Path) -> None:
    assert CHANGES[change](tmp_path) != fingerprint(tmp_path)


@pytest.mark.parametrize("rung", [{"vae_tiling": True}, {"vae_dtype": "float32"}], ids=str)
def test_a_rung_that_changes_bits_changes_the_fingerprint(rung: dict[str, Any], tmp_path: Path) -> None:
    writer = Writer(task(tmp_path), Sources(tmp_path))
    assert writer.fingerprint(4, "ab", rung) != writer.fingerprint(4, "ab")
    # A smaller batch is in the shape; it is not told twice.
    assert writer.fingerprint(2, "ab", {"batch_size": 2}) == writer.fingerprint(2, "ab") != writer.fingerprint(4, "ab")


def test_device_kind_and_versions_change_the_fingerprint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {fingerprint(tmp_path)}
    with monkeypatch.context() as patch:
        patch.setattr(device, "describe", lambda name: Device("cpu", "cpu other", 0, 1))
        found.add(fingerprint(tmp_path))
    with monkeypatch.context() as patch:
        patch.setattr(device, "versions", lambda: {"torch": "0", "diffusers": "0", "transformers": "0"})
        found.add(fingerprint(tmp_path))
    assert len(found) == 3


def test_what_does_not_change_bits_does_not_change_the_fingerprint(tmp_path: Path) -> None:
    changes: list[dict[str, Any]] = [
        {"run": "run2"}, {"directory": tmp_path / "x"}, {"output": Output(format="webp")}, {"memory": 80},
        {"base": Path("/x")}, {"render": replace(RENDER, oom="fail")},
    ]  # fmt: skip
    assert {fingerprint(tmp_path, **change) for change in changes} == {fingerprint(tmp_path)}


def test_threads_belong_to_the_fingerprint_of_a_cpu_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "describe", lambda name: Device("cuda", "cuda x", 80, 1))
    assert fingerprint(tmp_path) == fingerprint(tmp_path, render=replace(RENDER, threads=9))
