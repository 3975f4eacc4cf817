"""What a notebook calls: the same as the commands do."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

import sdbatch
from sdbatch.errors import SpecError, StoreError

JOB = """
name: cells
prompt: "a {color} star"
steps: 1
grid: {color: [red, blue], seed: [1, 2]}
render: {threads: 1, batch_size: 2}
"""


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("notebook") / "cells.yaml"
    path.write_text(JOB)
    return path


@pytest.fixture(scope="module")
def made(spec: Path) -> sdbatch.Run:
    return sdbatch.run(spec, out=spec.parent / "run", quiet=True)


def test_a_job_is_run_and_looked_at(made: sdbatch.Run) -> None:
    assert made.report is not None and (made.report.made, made.report.exit_code) == (4, 0)
    table = made.manifest
    assert table.groupby("field_color").size().to_dict() == {"blue": 2, "red": 2} and len(made.failures) == 0
    picture = made.image(table.row[0])
    assert picture.size == (64, 64) and picture.mode == "RGB"
    for wrong in ("none", 0, table.iloc[0]):
        with pytest.raises(KeyError, match="column `row`"):
            made.image(wrong)
    assert (made.status.done, made.status.left) == (4, 0)


def test_jupyter_shows_it(made: sdbatch.Run) -> None:
    sheet = made.sheet(x="seed", y="color")
    with Image.open(io.BytesIO(sheet._repr_png_())) as image:
        assert image.format == "PNG" and image.size == sheet.image.size and sheet.image.width > 200
    assert "cells" in made._repr_html_() and "<td>4</td>" in made._repr_html_()
    assert made.page() == made.directory / "report.html" and made.page().stat().st_size > 10_000


def test_values_are_set_and_progress_is_said(spec: Path, made: sdbatch.Run, capsys: pytest.CaptureFixture[str]) -> None:
    more = sdbatch.run(str(spec), out=made.directory, set={"grid.seed": [1, 2, 3]}, limit=1)
    assert more.report is not None and (more.report.rows, more.report.made, more.report.left) == (6, 1, 1)
    said = capsys.readouterr()
    assert said.out == "" and "6 rows, 4 done before, 1 to make" in said.err and "\n1 made in " in said.err
    assert len(sdbatch.open_run(made.directory).manifest) == 5
    assert sdbatch.run(made.directory, quiet=True).manifest.seed.tolist().count(3) == 2


def test_what_is_wrong_is_said(spec: Path, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="did you mean 'prompt'"):
        sdbatch.run(spec, out=tmp_path / "x", set={"promt": "a"})
    with pytest.raises(StoreError):
        sdbatch.open_run(tmp_path / "none")
    with pytest.raises(TypeError):
        sdbatch.run(spec, out=tmp_path / "x", limits=4)
    with pytest.raises(AttributeError, match="no attribute 'runs'"):
        sdbatch.runs  # noqa: B018
