"""The report of a data set says what the run directory holds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import labelled
import numpy as np
import pyarrow as pa
from PIL import Image

from sdbatch import api
from sdbatch.report import dataset
from sdbatch.report.dataset import Lost

RunJob = Callable[..., "api.RunReport"]
Write = Callable[..., Path]


def lines(scores: list[str | None], labels: list[str | None]) -> pa.Table:
    return pa.table({
        "scores": pa.array(scores, pa.string()), "attempts": pa.array([1] * len(scores), pa.int64()),
        "field_kind": pa.array(labels, pa.string()), "field_split": pa.array(["train"] * len(scores), pa.string()),
    })  # fmt: skip


def test_counts_histograms_and_reasons() -> None:
    scores = [json.dumps({"ssim": value, "phash": "00"}) for value in (0.1, 0.11, 0.99)]
    lost = [
        Lost("b", "cat", "train", "DroppedError", "too close to its parent: ssim 0.9; 4 attempts"),
        Lost("a", "dog", "train", "DroppedError", "too close to its parent: ssim 0.8; 4 attempts"),
        Lost("c", "dog", "train", "RowError", "a | b"),
    ]
    found = dataset.summary(
        "pets", "kind", lines(scores, ["cat", "cat", None]), {("train", "cat"): 3, ("train", "dog"): 2}, lost
    )
    assert found.classes == {"train": {"": 1, "cat": 2}} and found.made == 3 and found.attempts == {1: 3}
    (ssim,) = found.scores.values()
    assert sum(ssim.counts) == 3 and ssim.counts[2] == 2 and ssim.counts[19] == 1 and ssim.mean == 0.4
    said = found.as_dict()
    assert said["reasons"] == {"DroppedError: too close to its parent": 2, "RowError: a | b": 1}
    assert json.loads(json.dumps(said)) == said
    page = dataset.markdown(found, None)
    assert "| train | cat | 2 | 3 |" in page and "| train | dog | 0 | 2 |" in page and "| a | dog |" in page
    assert "a \\| b" in page and "| 0.1 | 0.15 | 2 | " + "█" * 30 + " |" in page and "samples" not in page


def test_a_run_leaves_it(write: Write, run_job: RunJob, tmp_path: Path) -> None:
    labelled.classes(tmp_path / "set", {"train/star": 2, "train/heart": 1, "test/star": 1})
    job = {
        "recipe": "augment", "input": "../set", "variations": 2, "prompt": "a {label}", "strength": 0.9, "steps": 2,
        "similarity": {"ssim": [0.2, 0.95], "tries": 1}, "render": {"threads": 1, "batch_size": 4},
    }  # fmt: skip
    spec, run = write("jobs/job.yaml", json.dumps(job)), tmp_path / "run"
    report = run_job(spec, run)
    said = json.loads((run / "report.json").read_text())
    assert (said["made"], said["lost"]) == (report.made, report.dropped) and said["label"] == "label"
    assert said["asked"] == {"test": {"star": 2}, "train": {"heart": 2, "star": 4}}
    assert sum(count for of in said["classes"].values() for count in of.values()) == report.made
    assert "![Parents, each with its variations](samples.png)" in (run / "report.md").read_text()
    pixels = np.asarray(Image.open(run / "samples.png"))
    assert pixels.std() > 10
    before = (run / "report.md").stat().st_mtime_ns
    assert run_job(spec, run).made == 0 and (run / "report.md").stat().st_mtime_ns == before, "nothing is new"
