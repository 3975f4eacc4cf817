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


@pytest.mark.parametrize("replace", ["inpaint", "img2img", "blur"])
@pytest.mark.parametrize("size", [(48, 40), (96, 64)])
def test_they_stay_bit_for_bit(run_job: RunJob, tmp_path: Path, replace: str, size: tuple[int, int]) -> None:
    (tmp_path / "photos").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photos" / "one.png")
    (tmp_path / "key.bin").write_bytes(b"k" * 32)
    job: dict[str, Any] = {
        "recipe": "anonymize", "input": "photos", "key_file": "key.bin", "replace": replace, "detector": "lbp",
        "unfound": "keep", "render": {"threads": 1},
    }  # fmt: skip
    if replace != "blur":
        job |= {"model": "demo-inpaint", "prompt": "a wall", "steps": 2}
    (tmp_path / "job.yaml").write_text(json.dumps(job))
    report = run_job(tmp_path / "job.yaml", tmp_path / "run")
    assert (report.made, report.failed) == (1, 0)
    path = tmp_path / "run" / pd.read_parquet(tmp_path / "run" / "manifest").path[0]
    assert (np.asarray(Image.open(path)) == pixels).all()
