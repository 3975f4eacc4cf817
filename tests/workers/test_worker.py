"""A worker: a lease in, pictures on the disk and records out. Its renderer only pretends."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pretending import MISSING, RAISES, Models, Renderer, made, pixels, row, task

from sdbatch.errors import InputError, ModelError, PictureError, RowError, StoreError
from sdbatch.render.batch import Picture
from sdbatch.sources import names
from sdbatch.store import attempts, images
from sdbatch.store.base import LocalStore
from sdbatch.types import Lease, Output, Row
from sdbatch.workers import worker
from sdbatch.workers.worker import Worker


@pytest.fixture(autouse=True)
def _pretend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "Renderer", Renderer)
    monkeypatch.setattr(names, "ModelSource", Models)


def test_pictures_and_records(tmp_path: Path) -> None:
    lease = Lease(0, tuple(row(seed) for seed in range(6)))
    result = Worker(task(tmp_path)).run(lease)
    assert made(result) == [0, 1, 2, 3, 4, 5] and result.failures == () and result.left == ()
    assert Renderer.calls == [([0, 1, 2, 3], 4), ([4, 5], 4)]
    for record in result.records:
        data = (tmp_path / record["path"]).read_bytes()
        shown = np.asarray(Image.open(tmp_path / record["path"]))
        assert np.array_equal(shown, pixels(record["seed"]))
        assert record["file_sha256"] == hashlib.sha256(data).hexdigest()
        assert record["pixel_sha256"] == hashlib.sha256(shown.tobytes()).hexdigest()
    first = result.records[0]
    expected = {"batch_size": 4, "threads": 2, "dtype": "float32", "run": "run1", "model_hash": "ab" * 32}
    assert expected.items() <= first.items()
    assert first["field_line"] == "0" and first["device"].startswith("cpu ") and "torch" in first["versions"]


def test_a_failing_row_fails_alone_and_the_others_are_made_at_the_same_shape(tmp_path: Path) -> None:
    lease = Lease(0, (row(1), row(RAISES), row(2), row(3), row(4)), attempt=2)
    settled: list[int] = []
    result = Worker(task(tmp_path), on_batch=settled.append).run(lease)
    assert made(result) == [1, 2, 3, 4]
    assert [(one.id, one.error, one.attempt) for one in result.failures] == [
        (row(RAISES).id, "PictureError", 1), (row(RAISES).id, "PictureError", 2)
    ]  # fmt: skip
    assert {one.message for one in result.failures} == {"not finite"} and result.failed == 1
    assert {size for _, size in Renderer.calls} == {4}
    assert settled == [4, 1]
    assert not (tmp_path / row(RAISES).path).exists()


def test_a_row_whose_input_cannot_be_read_fails_alone(tmp_path: Path) -> None:
    result = Worker(task(tmp_path)).run(Lease(0, (row(1), row(MISSING), row(MISSING, 1), row(2))))
    assert made(result) == [1, 2]
    assert [(one.row, one.attempt) for one in result.failures] == [
        (row(MISSING).row, 1), (row(MISSING, 1).row, 1), (row(MISSING).row, 2), (row(MISSING, 1).row, 2)
    ]  # fmt: skip
    assert {(one.error, one.message) for one in result.failures} == {("InputError", "no such file")}
    assert Renderer.calls == [([1, MISSING, 2], 4), ([MISSING], 4)] and result.failed == 2


def test_a_row_that_fails_once_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture that is not finite is made again with the VAE in float32; anything else as it was."""
    calls: list[tuple[int, bool]] = []

    def render(self: Renderer, rows: Sequence[Row], size: int, precise: bool = False) -> list[Picture | RowError]:
        calls.extend((row.params["seed"], precise) for row in rows)
        if rows[0].params["seed"] == RAISES and not precise:
            raise PictureError("not finite")
        return [
            InputError("not there yet") if seed == MISSING and calls.count((MISSING, False)) == 2
            else Picture(pixels(seed), degraded={"vae_dtype": "float32"} if precise else {})
            for seed in (row.params["seed"] for row in rows)
        ]  # fmt: skip

    monkeypatch.setattr(Renderer, "render", render)
    result = Worker(task(tmp_path)).run(Lease(0, (row(RAISES), row(MISSING), row(1))))
    assert sorted(made(result)) == [1, MISSING, RAISES] and result.failed == 0
    assert calls == [(RAISES, False), (MISSING, False), (1, False), (RAISES, False), (RAISES, True),
                     (MISSING, False), (MISSING, False), (1, False)]  # fmt: skip
    assert [(one.id, one.attempt) for one in result.failures] == [(row(RAISES).id, 1), (row(MISSING).id, 1)]
    told = {record["seed"]: record["degraded"] for record in result.records}
    assert told == {RAISES: '{"vae_dtype": "float32"}', MISSING: None, 1: None}
    assert len({record["fingerprint"] for record in result.records}) == 2


def test_what_is_in_hand_is_noted_before_it_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        """Stands for SIGKILL: nothing of the worker's runs after it."""

    noted: list[list[tuple[str, str]]] = []

    def render(self: Renderer, rows: Sequence[Row], size: int, precise: bool = False) -> list[Picture]:
        (note,) = attempts.left(LocalStore(tmp_path))
        assert "batches of" in note.about and "MiB" in note.about
        noted.append([seen for seen in note.rows])
        if len(noted) == 3:
            raise Killed
        if len(rows) > 1 and rows[0].params["seed"] == 5:
            raise ValueError
        return [Picture(pixels(row.params["seed"])) for row in rows]

    monkeypatch.setattr(Renderer, "render", render)
    lease = Lease(0, (*(row(seed) for seed in range(1, 5)), row(5), row(5, 1), row(6)))
    with pytest.raises(Killed):
        Worker(task(tmp_path)).run(lease)
    assert [[int(identity) for identity, _ in rows] for rows in noted] == [[1, 2, 3, 4], [5, 5, 6], [5, 5]]
    (note,) = attempts.left(LocalStore(tmp_path))
    assert note.alone
    (file,) = (tmp_path / "attempts").iterdir()
    text = file.read_text()
    file.write_text(text + text[:20])  # killed while it noted the next: nothing is in hand
    assert attempts.left(LocalStore(tmp_path)) == []
    file.write_text(text)
    Worker(task(tmp_path)).run(Lease(0, (row(7),)))  # another worker, which ends well
    assert attempts.left(LocalStore(tmp_path)) == [note]


def test_what_output_save_names_is_written_beside_the_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8)
    latents = np.linspace(-1, 1, 16, dtype=np.float32).reshape(4, 2, 2)
    drawn = Picture(
        pixels(1),
        {"latents": latents, "depth": grey.astype(np.uint16) * 256, "control": grey, "control2": grey, "mask": grey},
    )
    monkeypatch.setattr(Renderer, "render", lambda self, rows, size, precise=False: [drawn] * len(rows))
    lease = Lease(0, (row(1, 0, "images/a.png"), row(1, 1, "images/b.png")))
    Worker(task(tmp_path, output=Output(save=("latents", "depth", "control")))).run(lease)
    files = {path.name for path in (tmp_path / "images").iterdir()}
    wanted = {f"{name}{more}.png" for name in "ab" for more in ("", ".depth", ".control", ".control2")}
    assert files == wanted | {"a.latents.npy", "b.latents.npy"}
    assert np.array_equal(np.load(tmp_path / "images" / "a.latents.npy"), latents)
    depth = np.asarray(Image.open(tmp_path / "images" / "a.depth.png"))
    assert depth.dtype == np.uint16 and np.array_equal(depth, drawn.beside["depth"])


def test_whatever_a_model_raises_is_a_rows_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def render(self: Renderer, rows: Sequence[Row], size: int, precise: bool = False) -> list[Picture]:
        raise MemoryError

    monkeypatch.setattr(Renderer, "render", render)
    result = Worker(task(tmp_path)).run(Lease(0, (row(1), row(2))))
    assert [(failure.error, failure.message) for failure in result.failures] == [("MemoryError", "MemoryError")] * 4


def test_rows_alike_share_a_picture_and_have_a_record_each(tmp_path: Path) -> None:
    lease = Lease(0, (row(1), row(1, 1), row(1, 2), row(2)))
    settled: list[int] = []
    result = Worker(task(tmp_path), on_batch=settled.append).run(lease)
    assert Renderer.calls == [([1, 2], 4)]
    assert [record["field_line"] for record in result.records] == ["0", "1", "2", "0"]
    assert len({record["row"] for record in result.records}) == 4
    assert len({record["file_sha256"] for record in result.records}) == 2
    assert settled == [4]
    assert len(list((tmp_path / "images").iterdir())) == 2


def test_a_failing_picture_fails_all_rows_alike(tmp_path: Path) -> None:
    result = Worker(task(tmp_path)).run(Lease(0, (row(RAISES), row(RAISES, 1), row(1))))
    assert [failure.row for failure in result.failures] == [row(RAISES).row, row(RAISES, 1).row] * 2
    assert result.failed == 2
    assert made(result) == [1]


def test_one_picture_under_two_names(tmp_path: Path) -> None:
    lease = Lease(0, (row(1, 0, "images/a.png"), row(1, 1, "images/b/c.png"), row(1, 2, "images/a.png")))
    result = Worker(task(tmp_path)).run(lease)
    assert [record["path"] for record in result.records] == ["images/a.png", "images/b/c.png", "images/a.png"]
    files = [path for path in (tmp_path / "images").rglob("*") if path.is_file()]
    assert len(files) == 2 and len({path.read_bytes() for path in files}) == 1


def test_stopped_between_batches_it_gives_back_what_is_left(tmp_path: Path) -> None:
    batches: list[int] = []
    rows = (*(row(seed) for seed in range(5)), row(5), row(5, 1))
    at_work = Worker(task(tmp_path), lambda: len(batches) >= 1, batches.append)
    result = at_work.run(Lease(0, rows))
    assert made(result) == [0, 1, 2, 3]
    assert result.left == rows[4:]
    assert len(Renderer.calls) == 1


def test_a_picture_that_its_format_cannot_hold_fails_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encode = images.encode

    def refuse(picture: NDArray[np.uint8], *arguments: Any) -> bytes:
        if np.array_equal(picture, pixels(2)):
            raise RowError("too large for webp")
        return encode(picture, *arguments)

    monkeypatch.setattr(images, "encode", refuse)
    result = Worker(task(tmp_path)).run(Lease(0, (row(1), row(2), row(2, 1), row(3))))
    assert made(result) == [1, 3]
    assert [(failure.row, failure.error) for failure in result.failures] == [
        (row(2).row, "RowError"), (row(2, 1).row, "RowError"),
    ]  # fmt: skip


def test_a_model_that_cannot_be_had_is_not_a_rows_fault(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="broken"):
        Worker(task(tmp_path)).run(Lease(0, (row(1, model="broken"),)))


def test_a_disk_that_cannot_be_written_ends_the_lease(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match="file"):
        Worker(task(tmp_path, directory=tmp_path / "file" / "run")).run(Lease(0, (row(1),)))
