"""The jobs that come with sdbatch run as they are, on the embedded models."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from sdbatch import api
from sdbatch.parameters import MODES

Runner = Callable[..., api.RunReport]


def jobs() -> list[str]:
    return sorted(path.stem for path in (Path(__file__).parent.parent / "jobs").glob("*.yaml"))


def test_there_is_a_job_for_every_mode(root: Path) -> None:
    texts = [path.read_text("utf-8") for path in (root / "jobs").glob("*.yaml")]
    for mode in set(MODES) - {"txt2img"}:
        assert any(re.search(rf"mode: {mode}\s", text) and text.startswith("#") for text in texts), mode


@pytest.mark.slow
@pytest.mark.parametrize("name", jobs())
def test_a_job_runs(name: str, root: Path, tmp_path: Path, run_job: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("jobs", "prompts"):
        shutil.copytree(root / folder, tmp_path / folder)
    limit = {"limit": 6} if name in ("demo", "samplers", "guidance") else {}
    done = run_job(tmp_path / "jobs" / f"{name}.yaml", tmp_path / "out", **limit)
    assert (done.failed, done.exit_code) == (0, 0)
    table = pd.read_parquet(tmp_path / "out" / "manifest")
    assert len(table) >= 3 and not (tmp_path / "out" / "failures").exists()
    for path in table["path"]:
        assert np.asarray(Image.open(tmp_path / "out" / path)).std() > 1
    # What must not be kept is told again.
    monkeypatch.setenv("SDBATCH_INPUT", str(tmp_path / "jobs" / "pictures"))
    monkeypatch.setenv("SDBATCH_KEY_FILE", str(tmp_path / "jobs" / "pictures" / "example.key"))
    if not limit:
        assert run_job(tmp_path / "out", tmp_path / "out").made == 0
