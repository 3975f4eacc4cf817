"""The jobs that come with sdbatch run as they are, on the embedded models."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from sdbatch.parameters import MODES

Command = Callable[..., subprocess.CompletedProcess[str]]


def jobs() -> list[str]:
    return sorted(path.stem for path in (Path(__file__).parent.parent / "jobs").glob("*.yaml"))


def test_there_is_a_job_for_every_mode(root: Path) -> None:
    texts = [path.read_text("utf-8") for path in (root / "jobs").glob("*.yaml")]
    for mode in set(MODES) - {"txt2img"}:
        assert any(f"mode: {mode}\n" in text and text.startswith("#") for text in texts), mode


@pytest.mark.slow
@pytest.mark.parametrize("name", jobs())
def test_a_job_runs(name: str, root: Path, tmp_path: Path, sdbatch: Command) -> None:
    for folder in ("jobs", "prompts"):
        shutil.copytree(root / folder, tmp_path / folder)
    limit = ["--limit", "6"] if name in ("demo", "samplers", "guidance") else []
    done = sdbatch("run", f"jobs/{name}.yaml", "--out", "out", "--set", "render.threads=1", *limit, timeout=240)
    assert done.returncode == 0, done.stderr
    table = pd.read_parquet(tmp_path / "out" / "manifest")
    assert len(table) >= 4 and not (tmp_path / "out" / "failures").exists()
    for path in table["path"]:
        assert np.asarray(Image.open(tmp_path / "out" / path)).std() > 1
    if not limit:
        again = sdbatch("run", "out", "--json")
        assert again.returncode == 0 and '"made": 0' in again.stdout
