"""sdbatch verify: rows for which memory did not suffice, or of which a part was made more exactly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from verified import JOB, alter, line, verify

from sdbatch import api
from sdbatch.api.comparing import EXACT, FAILED
from sdbatch.render.renderer import Renderer

Runner = Callable[..., api.RunReport]


@pytest.fixture(scope="module")
def made(run_job: Runner, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("verified") / "run"
    run_job(JOB, run)
    return run


def test_rows_that_memory_did_not_suffice_for_are_made_as_they_were(
    run_job: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, drawn = tmp_path / "run", Renderer._drawn

    def scarce(renderer: Renderer, context: Any, rows: Any, size: int) -> Any:
        if not context.pipe.vae.use_tiling:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return drawn(renderer, context, rows, size)

    with monkeypatch.context() as patch:
        patch.setattr(Renderer, "_drawn", scarce)
        run_job(JOB, run)
    assert line(run, "red/1.png")["degraded"] == '{"batch_size": 1, "vae_tiling": true}'
    seen: list[tuple[int, bool]] = []

    def watched(renderer: Renderer, context: Any, rows: Any, size: int) -> Any:
        seen.append((size, context.pipe.vae.use_tiling))
        return drawn(renderer, context, rows, size)

    monkeypatch.setattr(Renderer, "_drawn", watched)
    report = verify(run)
    assert report.counts == {EXACT: 6} and set(seen) == {(1, True)} and report.reasons == {}


def test_memory_that_runs_out_fails_a_row_that_was_made_otherwise(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = Renderer._drawn

    def scarce(renderer: Renderer, context: Any, rows: Any, size: int) -> Any:
        if size > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return drawn(renderer, context, rows, size)

    monkeypatch.setattr(Renderer, "_drawn", scarce)
    report = verify(made, sample="1")
    assert report.counts == {FAILED: 1} and "OutOfMemoryError" in report.pictures[0].about


def test_rows_whose_vae_was_in_float32(run_job: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, render = tmp_path / "run", Renderer.render
    with monkeypatch.context() as patch:
        patch.setattr(Renderer, "render", lambda self, rows, size, **_: render(self, rows, size, precise=True))
        run_job({**JOB, "grid": {"color": ["red"], "seed": [1]}, "render": {"dtype": "bfloat16", "batch_size": 1}}, run)
    assert line(run, "red/1.png")["degraded"] == '{"vae_dtype": "float32"}'
    assert verify(run).counts == {EXACT: 1}
    alter(run, {"red/1.png": {"degraded": None}})
    (other,) = verify(run).pictures
    assert other.result != EXACT and "its fingerprint is not that" in other.reasons[0]
