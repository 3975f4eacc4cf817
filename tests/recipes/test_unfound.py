"""Pictures in which nothing is found, and which are let through."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from sdbatch import api

pytest.importorskip("skimage")
RunJob = Callable[..., "api.RunReport"]


def job(folder: Path, pixels: Any, **keys: Any) -> Path:
    """A data set of one picture without a face, its key, and a job that hides the face."""
    (folder / "photos").mkdir()
    Image.fromarray(pixels).save(folder / "photos" / "one.png")
    (folder / "key.bin").write_bytes(b"k" * 32)
    given = {
        "recipe": "anonymize", "input": "photos", "key_file": "key.bin", "detector": "lbp", "render": {"threads": 1}
    }  # fmt: skip
    (folder / "job.yaml").write_text(json.dumps({**given, **keys}))
    return folder / "job.yaml"


@pytest.mark.parametrize("replace", ["inpaint", "img2img", "blur"])
@pytest.mark.parametrize("size", [(48, 40), (96, 64)])
def test_they_stay_bit_for_bit(run_job: RunJob, tmp_path: Path, replace: str, size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    keys = {} if replace == "blur" else {"model": "demo-inpaint", "prompt": "a wall", "steps": 2}
    report = run_job(job(tmp_path, pixels, replace=replace, unfound="keep", **keys), tmp_path / "run")
    assert (report.made, report.failed) == (1, 0)
    path = tmp_path / "run" / pd.read_parquet(tmp_path / "run" / "manifest").path[0]
    assert (np.asarray(Image.open(path)) == pixels).all()


def test_else_they_are_to_be_looked_at_and_tried_once(run_job: RunJob, tmp_path: Path) -> None:
    report = run_job(job(tmp_path, np.full((48, 40, 3), 9, np.uint8), replace="blur"), tmp_path / "run")
    assert (report.made, report.failed) == (0, 1)
    assert pd.read_parquet(tmp_path / "run" / "failures").error.tolist() == ["ReviewError"]
