"""Names of pictures that an earlier stage makes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sdbatch.sources import parents
from sdbatch.sources.inputs import InputSource
from sdbatch.sources.names import Sources
from sdbatch.sources.parents import Parent

ID = "0123456789abcdef0123"


@given(st.integers(1, 99_999), st.integers(1, 99_999), st.text(st.characters(exclude_characters="\0"), min_size=1))
def test_a_name_reads_as_it_was_written(width: int, height: int, path: str) -> None:
    parent = Parent(ID, width, height, path)
    assert parents.read(parent.name) == parent


@pytest.mark.parametrize(
    "text", ["run.png", "run:x:8x8:a", f"run:{ID}:8:a", f"run:{ID}:8x8:", f"run:{ID[1:]}:8x8:a", 7, None]
)
def test_other_values_are_no_such_names(text: object) -> None:
    assert parents.read(text) is None


def test_it_counts_by_its_id_and_size_before_it_is_there(tmp_path: Path) -> None:
    sources = Sources(tmp_path, run=tmp_path / "run")
    name = Parent(ID, 24, 16, "images/a.png").name
    assert sources.content("image", name) == {"parent": ID} and sources.picture_size(name) == (24, 16)
    assert parents.of({"image": None, "control_image": name}) == ID and parents.of({"image": "a.png"}) is None


def test_it_is_read_from_the_run_directory_and_from_nowhere_else(tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "images").mkdir(parents=True)
    for path in (run / "images" / "a.png", tmp_path / "b.png"):
        Image.fromarray(np.zeros((16, 24, 3), np.uint8)).save(path)
    inputs = InputSource(tmp_path, run=run)
    found = inputs.find(Parent(ID, 24, 16, "images/a.png").name)
    assert found.problem is None and (found.width, found.height) == (24, 16)
    for path in ("../b.png", str(tmp_path / "b.png")):
        assert "earlier stage" in str(inputs.find(Parent(ID, 24, 16, path).name).problem)
    (run / "images" / "c.png").symlink_to(tmp_path / "b.png")
    assert "links on the way" in str(inputs.find(Parent(ID, 24, 16, "images/c.png").name).problem)
    assert "earlier stage" in str(InputSource(tmp_path).find(Parent(ID, 24, 16, "images/a.png").name).problem)
