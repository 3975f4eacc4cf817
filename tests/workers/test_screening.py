"""What a worker does with pictures before it writes them: safety checkers and watermarks; its renderer pretends."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pretending import Models, Renderer, pixels, row, task

from sdbatch.render.batch import Picture
from sdbatch.sources import names
from sdbatch.sources.models import Model
from sdbatch.store import images, watermark
from sdbatch.types import Lease, Output, Render
from sdbatch.workers import worker
from sdbatch.workers.worker import Worker


@pytest.fixture(autouse=True)
def _pretend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "Renderer", Renderer)
    monkeypatch.setattr(names, "ModelSource", Models)


class Checkers:
    """Flags even seeds' pictures; a model named `bare` has no checker."""

    def __init__(self, render: Render) -> None: ...

    def verdict(self, path: Path, picture: NDArray[np.uint8]) -> str | None:
        flagged = any(np.array_equal(picture, pixels(seed)) for seed in (2, 4))
        return None if path.name == "bare" else "flagged" if flagged else "safe"


@pytest.mark.parametrize(
    ("safety", "verdicts", "failed"),
    [
        ("off", {1: None, 2: None, 3: None, 4: None}, []),
        ("flag", {1: "safe", 2: "flagged", 3: "safe", 4: "flagged"}, []),
        ("drop", {1: "safe", 3: "safe"}, [2, 2, 4]),
    ],
)
def test_what_a_safety_checker_flags(
    safety: str, verdicts: dict[int, str | None], failed: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "Checkers", Checkers)
    rows = (row(1), row(2), row(2, 1), row(3), row(4))
    result = Worker(task(tmp_path, output=Output(safety=safety))).run(Lease(0, rows))
    assert {record["seed"]: record["safety"] for record in result.records} == verdicts
    assert [int(failure.id, 16) for failure in result.failures] == failed
    assert {failure.error for failure in result.failures} <= {"FlaggedError"}
    written = {int(path.stem) for path in (tmp_path / "images").iterdir()}
    assert written == verdicts.keys()


def test_a_model_without_a_safety_checker_gives_no_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "Checkers", Checkers)
    bare = Model("m", Path("bare"), None, "sd", "ab" * 32, (64, 64), {}, "diffusers")
    monkeypatch.setattr(Models, "resolve", lambda self, *names: bare)
    result = Worker(task(tmp_path, output=Output(safety="drop"))).run(Lease(0, (row(2),)))
    assert [record["safety"] for record in result.records] == [None]


def large(seed: int) -> NDArray[np.uint8]:
    return np.full((256, 256, 3), 200 + seed, np.uint8)


@pytest.mark.parametrize("format", ["png", "webp", "jpeg"])
def test_a_watermark_is_written_read_again_and_recorded(
    format: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        Renderer, "render", lambda self, rows, *rest, **named: [Picture(large(row.params["seed"])) for row in rows]
    )
    quality = {"png": None, "webp": 90, "jpeg": 75}[format]
    output = Output(format=format, quality=quality, watermark="mark")
    result = Worker(task(tmp_path, output=output)).run(Lease(0, (row(1),)))
    (record,) = result.records
    assert (record["watermark"], record["watermark_bits"]) == ("mark", 1.0)
    shown = np.asarray(Image.open(tmp_path / record["path"]).convert("RGB"))
    assert watermark.decode(shown, 4) == "mark"
    marked = watermark.embed(large(1), "mark")
    assert record["pixel_sha256"] == images.pixel_sha256(marked) != images.pixel_sha256(large(1))
    assert format != "png" or np.array_equal(shown, marked)


def test_without_a_watermark_there_is_none_in_the_record(tmp_path: Path) -> None:
    (record,) = Worker(task(tmp_path)).run(Lease(0, (row(1),))).records
    assert record["watermark"] is None and record["watermark_bits"] is None


def test_a_picture_too_small_for_the_watermark_fails_its_row(tmp_path: Path) -> None:
    result = Worker(task(tmp_path, output=Output(watermark="mark"))).run(Lease(0, (row(1), row(1, 1))))
    assert result.records == () and len(result.failures) == 2
    failure = result.failures[0]
    assert (failure.error, failure.message) == (
        "RowError", "8 x 8 is too small for a watermark; it needs 256 pixels a side",
    )  # fmt: skip
