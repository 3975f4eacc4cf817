"""Scores by models: as transformers' own CLIP has them, and as the layers over it come out by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tiny
import torch
import transformers
from PIL import Image
from safetensors.numpy import load_file
from safetensors.torch import save_file

from sdbatch import api, prepare, staging
from sdbatch.errors import ModelError, SpecError
from sdbatch.render.judging import plain
from sdbatch.sources.models import ModelSource
from sdbatch.types import Row

Write = Callable[..., Path]
RunJob = Callable[..., "api.RunReport"]
JOB = """
model: demo
prompt: "a ({color}:1.3) star"
steps: 2
grid: {color: [red, blue, green]}
stages:
  - {name: base}
  - {name: rated, mode: score, input: base, clip_model: ../clip, aesthetic_model: ../looks.safetensors}
  - {name: again, mode: img2img, input: rated, top: {by: score, n: 1}, strength: 0.5}
render: {threads: 1, batch_size: 2}
"""


@pytest.fixture
def models(tmp_path: Path) -> Path:
    tiny.clip(tmp_path / "clip")
    torch.manual_seed(3)
    wide = {"layers.0.weight": torch.randn(8, 16), "layers.0.bias": torch.randn(8)}
    save_file({**wide, "layers.2.weight": torch.randn(1, 8), "layers.2.bias": torch.randn(1)},
              tmp_path / "looks.safetensors")  # fmt: skip
    return tmp_path


def by_hand(folder: Path, picture: Path, text: str) -> tuple[float, float]:
    """The cosine by CLIP's own forward, and the layers over the picture's embedding by numpy."""
    clip: Any = transformers.CLIPModel.from_pretrained(folder / "clip")
    processor: Any = transformers.CLIPImageProcessorPil.from_pretrained(folder / "clip")
    tokens = transformers.CLIPTokenizer.from_pretrained(folder / "clip")([text], return_tensors="pt")
    with torch.inference_mode():
        out = clip(**tokens, pixel_values=processor(images=Image.open(picture), return_tensors="pt")["pixel_values"])
    seen = out.image_embeds[0].numpy()
    head = load_file(folder / "looks.safetensors")
    hidden = head["layers.0.weight"] @ (seen / np.linalg.norm(seen)) + head["layers.0.bias"]
    looks = head["layers.2.weight"] @ hidden + head["layers.2.bias"]
    return float(out.logits_per_image / clip.logit_scale.detach().exp()), float(looks[0])


def test_scores_are_those_of_the_models_and_the_best_goes_on(
    models: Path, write: Write, run_job: RunJob, tmp_path: Path
) -> None:
    report = run_job(write("jobs/job.yaml", JOB), tmp_path / "run")
    assert (report.made, report.failed) == (7, 0)
    table = pd.read_parquet(tmp_path / "run" / "manifest")
    rated = table[table.stage == "rated"]
    assert set(rated.prompt) == {"a (red:1.3) star", "a (blue:1.3) star", "a (green:1.3) star"}
    scores = {line.id: json.loads(line.scores) for line in rated.itertuples()}
    for line in rated.itertuples():
        words = line.prompt.replace("(", "").replace(":1.3)", "")
        clip, looks = by_hand(models, tmp_path / "run" / line.path, words)
        assert scores[line.id]["clip"] == pytest.approx(clip, abs=1e-5)
        assert scores[line.id]["aesthetic"] == pytest.approx(looks, abs=1e-4) == scores[line.id]["score"]
    assert len({score["clip"] for score in scores.values()}) == 3
    best = max(scores, key=lambda one: scores[one]["score"])
    (last,) = table[table.stage == "again"].itertuples()
    assert last.parent_id == best
    kept = [one["name"] for one in json.loads((tmp_path / "run/runs.jsonl").read_text())["models"]]
    assert set(kept) == {"demo", "../clip", "../looks.safetensors"}
    kept_job = (tmp_path / "run" / "job.yaml").read_text()
    assert "clip_model: ../clip" in kept_job and run_job(tmp_path / "run", tmp_path / "run").made == 0


def test_other_weights_are_another_row(models: Path, write: Write, tmp_path: Path) -> None:
    job = write("jobs/job.yaml", JOB)
    ids = {row.id for row in rated(job)}
    tiny.clip(models / "clip", seed=5)
    assert len(ids) == 3 and not ids & {row.id for row in rated(job)}


def rated(job: Path) -> list[Row]:
    (_, stage, _) = staging.of(prepare.job(job, out=job.parent / "run"))
    return stage.job.rows.take(range(3))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"clip_model": None}, "aesthetic_model: reads the embeddings of a CLIP model"),
        ({"clip_model": "../looks.safetensors"}, "is of kind 'aesthetic', and not 'clip'"),
        ({"aesthetic_model": "demo"}, "is of kind 'sd', and not 'aesthetic'"),
        ({"aesthetic_model": "../looks.pth"}, "pickles"),
    ],
)
def test_what_does_not_go_together(models: Path, write: Write, change: dict[str, Any], said: str) -> None:
    stage = {"name": "rated", "mode": "score", "input": "base", "clip_model": "../clip",
             "aesthetic_model": "../looks.safetensors", **change}  # fmt: skip
    job = {"prompt": "a star", "stages": [{"name": "base"}, {k: v for k, v in stage.items() if v is not None}]}
    with pytest.raises((SpecError, ModelError), match=said):
        api.plan_job(prepare.job(write("jobs/job.yaml", json.dumps(job)), out=models / "run"))


def test_layers_for_another_clip_are_said(models: Path, write: Write, run_job: RunJob, tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(1, 12), "bias": torch.zeros(1)}, models / "looks.safetensors")
    with pytest.raises(ModelError, match=r"reads embeddings of 12 numbers, and clip_model '../clip' makes 16"):
        run_job(write("jobs/job.yaml", JOB), tmp_path / "run")
    assert len(pd.read_parquet(tmp_path / "run" / "manifest")) == 3


@pytest.mark.parametrize(
    "shapes",
    [
        {"weight": (2, 4), "bias": (2,)}, {"weight": (1, 4)}, {"weight": (1, 4), "bias": (1,), "other": (1,)},
        {"a.0.weight": (8, 4), "a.0.bias": (8,), "a.1.weight": (1, 7), "a.1.bias": (1,)},
    ],
)  # fmt: skip
def test_what_is_no_chain_of_layers(tmp_path: Path, shapes: dict[str, tuple[int, ...]]) -> None:
    save_file({name: torch.zeros(shape) for name, shape in shapes.items()}, tmp_path / "x.safetensors")
    with pytest.raises(ModelError, match="no checkpoint"):
        ModelSource(tmp_path).resolve("x.safetensors")


def test_the_words_of_a_prompt() -> None:
    assert plain("a (red:1.3) star BREAK [big]", "a1111") == "a red star big"
    assert plain("a (red:1.3) star", "plain") == "a (red:1.3) star"
