"""The commands that the README and the tutorial show do what is said of them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

COMMANDS = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NOT_RUN = {"make demo", "make test", "python3 -m venv ~/sdbatch", ". ~/sdbatch/bin/activate", "pip install -e ."}
"""What the tests' own run begins with, or would install."""


def commands(path: Path) -> list[str]:
    blocks = COMMANDS.findall(path.read_text("utf-8"))
    lines = [line.partition("  #")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line]


def shell(script: list[str], folder: Path) -> str:
    """Run lines in one shell, which ends at the first that fails."""
    search = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(script)], cwd=folder, capture_output=True, text=True, timeout=600,
        env={**os.environ, "PATH": search, "OMP_NUM_THREADS": "1"}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_tutorial(root: Path, tmp_path: Path) -> None:
    lines = commands(root / "docs" / "tutorial.md")
    assert len(lines) >= 10
    said = shell(lines, tmp_path)
    table = pd.read_parquet(tmp_path / "sweep" / "runs" / "demo" / "manifest")
    assert len(table) == 72 and table.groupby("seed").size().to_dict() == {0: 24, 1: 24, 2: 24}
    assert (tmp_path / "sweep" / "runs" / "demo" / "sheet.png").is_file()
    assert (tmp_path / "sweep" / "runs" / "demo" / "report.html").is_file()
    assert "exact" in said and list((tmp_path / "sweep" / "again").rglob("*.png"))


@pytest.mark.slow
def test_the_readme(root: Path, tmp_path: Path) -> None:
    text = (root / "README.md").read_text("utf-8")
    lines = [line for line in commands(root / "README.md") if line not in NOT_RUN]
    assert lines == ["sdbatch run cats.yaml"]
    (job,) = re.findall(r"^```yaml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    model = "stable-diffusion-v1-5/stable-diffusion-v1-5"
    assert model in job
    (tmp_path / "cats.yaml").write_text(job.replace(model, "demo"))  # a hub that is not there
    more = [line.replace("\n", " ") for line in re.findall(r"`(sdbatch (?:plan|sheet|report) [^`]*cats[^`]*)`", text)]
    assert len(more) == 3
    shell([*lines, *more], tmp_path)
    assert len(pd.read_parquet(tmp_path / "runs" / "cats" / "manifest")) == 12
    (python,) = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    shell([f"python - <<'end'\n{python}end"], tmp_path)
