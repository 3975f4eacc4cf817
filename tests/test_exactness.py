"""The promise: the same id with the same fingerprint gives the same pixels, however the row came to be made."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from sdbatch import api
from sdbatch.render.renderer import Renderer
from sdbatch.types import Row

JOB: dict[str, Any] = {
    "name": "promise",
    "prompt": "a {color} circle on a white background",
    "steps": 2,
    "grid": {"color": ["red", "blue", "green"], "seed": [3, 4], "guidance_scale": [2, 4]},
}
Runner = Callable[..., api.RunReport]


def pixels(directory: Path) -> dict[str, str]:
    """pixel_sha256 by id, as the manifest has them."""
    table = pq.read_table(directory / "manifest", columns=["id", "pixel_sha256"])
    return dict(zip(*(table.column(name).to_pylist() for name in ("id", "pixel_sha256")), strict=True))


@pytest.fixture(scope="module")
def reference(run_job: Runner, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """All twelve rows of the job, in one run."""
    directory = tmp_path_factory.mktemp("reference") / "run"
    assert run_job(JOB, directory).made == 12
    return pixels(directory)


def grid(**axes: list[Any]) -> Mapping[str, Any]:
    return {**JOB, "grid": axes}


@pytest.mark.parametrize(
    "job",
    [
        pytest.param(grid(color=["blue"], seed=[4], guidance_scale=[4]), id="alone"),
        pytest.param(grid(guidance_scale=[4, 2], seed=[4, 3], color=["green", "red"]), id="reordered"),
        pytest.param(grid(color=["black", "red"], seed=[4, 9], guidance_scale=[2, 3, 4]), id="other neighbours"),
    ],
)
def test_the_same_pixels_with_any_neighbours(
    job: Mapping[str, Any], run_job: Runner, reference: dict[str, str], tmp_path: Path
) -> None:
    run_job(job, tmp_path / "run")
    found = pixels(tmp_path / "run")
    shared = found.keys() & reference.keys()
    assert shared
    assert {key: found[key] for key in shared} == {key: reference[key] for key in shared}


def test_the_same_pixels_when_continued(run_job: Runner, reference: dict[str, str], tmp_path: Path) -> None:
    assert run_job(JOB, tmp_path / "run", limit=5).made == 5
    assert run_job(JOB, tmp_path / "run").made == 7
    assert pixels(tmp_path / "run") == reference


def test_padding_is_what_keeps_the_promise(
    run_job: Runner, reference: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    padded = Renderer.render

    def each_alone(self: Renderer, rows: Sequence[Row], size: int, **how: Any) -> list[Any]:
        return [padded(self, [row], 1, **how)[0] for row in rows]

    monkeypatch.setattr(Renderer, "render", each_alone)
    run_job(JOB, tmp_path / "run")
    differ = sum(reference[key] != value for key, value in pixels(tmp_path / "run").items())
    assert differ, "without padding a row alone should differ from the same row in a batch"


def test_every_row_is_another_picture(reference: dict[str, str]) -> None:
    assert len(set(reference.values())) == len(reference) == 12


def test_the_pipeline_itself_gives_these_pixels(run_job: Runner, tmp_path: Path) -> None:
    """The seed contract: plain diffusers with one CPU generator a picture draws the same batch."""
    import torch
    from diffusers import StableDiffusionPipeline
    from PIL import Image

    from sdbatch.sources.models import EMBEDDED

    job = {**grid(seed=[1, 2, 3, 4]), "prompt": "a red star", "negative_prompt": "blue", "scheduler": "ddim"}
    run_job(job, tmp_path / "run")
    pipe = StableDiffusionPipeline.from_pretrained(EMBEDDED / "demo", dtype=torch.float32, safety_checker=None)
    pipe.set_progress_bar_config(disable=True)
    made = pipe(
        ["a red star"] * 4,
        negative_prompt=["blue"] * 4,
        generator=[torch.Generator("cpu").manual_seed(seed) for seed in (1, 2, 3, 4)],
        num_inference_steps=2,
        guidance_scale=4.0,
        output_type="np",
    ).images
    table = pq.read_table(tmp_path / "run" / "manifest", columns=["seed", "path"]).to_pylist()
    for line in table:
        ours = np.asarray(Image.open(tmp_path / "run" / line["path"]), np.int16)
        theirs = (made[line["seed"] - 1] * 255).round().astype(np.int16)
        assert np.abs(ours - theirs).max() <= 1  # text is encoded one by one here, four at a time there


@pytest.mark.ray
def test_the_same_pixels_on_ray_actors(run_job: Runner, reference: dict[str, str], tmp_path: Path) -> None:
    assert run_job(JOB, tmp_path / "run", executor="ray", actors=2).made == 12
    assert pixels(tmp_path / "run") == reference
