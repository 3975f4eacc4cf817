"""Data sets as other libraries read them back: every picture, its columns, its split, and the same bytes each time."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import labelled
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from sdbatch import api
from sdbatch.errors import StoreError, UsageError
from sdbatch.export import FORMATS

RunJob = Callable[..., "api.RunReport"]


@pytest.fixture(scope="module")
def run(run_job: RunJob, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five pictures: four of `train`, one of `test`, with labels and, in the parents' pixels, boxes."""
    home = tmp_path_factory.mktemp("exported")
    root = labelled.classes(home / "set", {"train/star": 1, "train/heart": 1, "test/star": 1}, size=(64, 32))
    for split, count in (("train", {"star": 1, "heart": 1}), ("test", {"star": 1})):
        lines = [
            {"file_name": f"{label}/0.png", "label": label, "boxes": [[8, 4, 16, 8], [60, 0, 4, 4]]} for label in count
        ]
        (root / split / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    spec = {
        "recipe": "augment", "input": "set", "variations": 2, "prompt": "a {label}", "steps": 1, "boxes": "keep",
        "strength": 0.5, "width": 64, "height": 64, "fit": "crop", "render": {"threads": 1, "batch_size": 3},
        "exclude": [{"variation": "1", "split": "test"}],
    }  # fmt: skip
    (home / "job.yaml").write_text(json.dumps(spec))
    assert run_job(home / "job.yaml", home / "run").made == 5
    return home / "run"


def whole(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def table(run: Path) -> Any:
    return pd.read_parquet(run / "manifest").set_index("row")


@pytest.mark.parametrize("to", FORMATS)
def test_the_same_files_each_time_and_an_export_goes_on(run: Path, to: str, tmp_path: Path) -> None:
    report = api.export(run, to, tmp_path / "one", per_shard=2)
    assert (report.pictures, report.splits) == (5, {"test": 1, "train": 4}) and report.written == report.files
    before = whole(tmp_path / "one")
    for name in list(before)[::2]:
        (tmp_path / "one" / name).unlink()
    again = api.export(run, to, tmp_path / "one", per_shard=2)
    assert 0 < again.written < report.written and whole(tmp_path / "one") == before
    assert api.export(run, to, tmp_path / "two", per_shard=2).files == report.files
    assert whole(tmp_path / "two") == before
    done = subprocess.run(["sha256sum", "-c", "--quiet", "checksums.sha256"], cwd=tmp_path / "one", check=False)
    assert done.returncode == 0
    card = before["README.md"].decode()
    assert card.startswith("---\n") and "| train | 4 |" in card and "`demo`" in card and "recipe: augment" in card
    assert "They were made from other pictures" in card and "never photographed" not in card


def test_the_card_says_where_nothing_was_photographed(run_job: Any, tmp_path: Path) -> None:
    stages = [{"name": "base"}, {"name": "again", "mode": "img2img", "input": "base"}]
    assert run_job({"prompt": "a star", "steps": 2, "stages": stages}, tmp_path / "run").made == 2
    api.export(tmp_path / "run", "imagefolder", tmp_path / "set")
    assert "was never photographed" in (tmp_path / "set" / "README.md").read_text()


def check(run: Path, columns: dict[str, Any], pixels: Any) -> None:
    line = table(run).reset_index().set_index("id").loc[columns["id"]]
    assert columns["label"] == line.field_label and columns["prompt"] == line.prompt
    assert (np.asarray(pixels) == np.asarray(Image.open(run / line.path))).all()


def test_imagefolder_by_datasets(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    api.export(run, "imagefolder", tmp_path / "set")
    datasets = pytest.importorskip("datasets")
    found = datasets.load_dataset("imagefolder", data_dir=str(tmp_path / "set"), cache_dir=str(tmp_path / "cache"))
    assert {split: len(rows) for split, rows in found.items()} == {"train": 4, "test": 1}
    for row in found["train"]:
        check(run, row, row["image"])


def test_hf_dataset_by_datasets(run: Path, tmp_path: Path) -> None:
    api.export(run, "hf-dataset", tmp_path / "set", per_shard=3)
    assert sorted(path.name for path in (tmp_path / "set" / "data").iterdir()) == [
        "test-00000-of-00001.parquet", "train-00000-of-00002.parquet", "train-00001-of-00002.parquet",
    ]  # fmt: skip
    datasets = pytest.importorskip("datasets")
    found = datasets.load_dataset(str(tmp_path / "set"), cache_dir=str(tmp_path / "cache"))
    assert {split: len(rows) for split, rows in found.items()} == {"train": 4, "test": 1}
    for row in found["train"]:
        check(run, row, row["image"])
        assert row["strength"] == 0.5 and isinstance(row["seed"], int)


def test_webdataset_by_webdataset(run: Path, tmp_path: Path) -> None:
    api.export(run, "webdataset", tmp_path / "set", per_shard=3)
    webdataset = pytest.importorskip("webdataset")
    shards = sorted(str(path) for path in (tmp_path / "set").glob("train-*.tar"))
    assert len(shards) == 2
    samples = list(webdataset.WebDataset(shards, shardshuffle=False))
    assert len(samples) == 4
    for sample in samples:
        columns = json.loads(sample["json"])
        assert sample["cls"].decode() == columns["label"]
        check(run, columns, Image.open(io.BytesIO(sample["png"])))


def test_coco_has_boxes_where_the_pictures_have_them(run: Path, tmp_path: Path) -> None:
    api.export(run, "coco", tmp_path / "set")
    found = json.loads((tmp_path / "set/annotations/instances_train.json").read_text())
    assert [one["name"] for one in found["categories"]] == ["heart", "star"]
    assert len(found["images"]) == 4 and len(found["annotations"]) == 4, "the box that the crop cut off is gone"
    # 64 x 32 fills 64 x 64 at twice the size, less 32 pixels at the left and the right.
    assert {tuple(one["bbox"]) for one in found["annotations"]} == {(0, 8, 16, 16)}
    names = {one["id"]: one["file_name"] for one in found["images"]}
    assert all((tmp_path / "set" / "train" / name).is_file() for name in names.values())
    by = {one["image_id"]: one["category_id"] for one in found["annotations"]}
    lines = table(run)
    for number, name in names.items():
        assert found["categories"][by[number] - 1]["name"] == lines.loc[name.removesuffix(".png")].field_label


def test_what_cannot_be_exported_is_said(run: Path, tmp_path: Path, sdbatch: Any) -> None:
    copy = Path(shutil.copytree(run, tmp_path / "run"))
    with pytest.raises(UsageError, match="one of imagefolder"):
        api.export(copy, "zip", tmp_path / "set")
    first, *_ = sorted((copy / "images").glob("*.png"))
    first.write_bytes(first.read_bytes()[:-1])
    with pytest.raises(StoreError, match=r"not the file that was recorded; see sdbatch fsck"):
        api.export(copy, "imagefolder", tmp_path / "set")
    first.unlink()
    with pytest.raises(StoreError, match="not there; see sdbatch fsck"):
        api.export(copy, "webdataset", tmp_path / "set")
    api.export(run, "webdataset", tmp_path / "both", per_shard=1)
    with pytest.raises(StoreError, match=r"holds \d+ files of an earlier export"):
        api.export(run, "webdataset", tmp_path / "both", per_shard=2)
    done = sdbatch("export", str(run), "--to", "imagefolder", "--out", str(tmp_path / "cli"))
    assert done.returncode == 0 and done.stdout.strip() == str(tmp_path / "cli")
    assert sdbatch("export", str(tmp_path), "--to", "coco", "--out", str(tmp_path / "x")).returncode == 74
    digest = hashlib.sha256((tmp_path / "cli/README.md").read_bytes()).hexdigest()
    assert f"{digest}  README.md" in (tmp_path / "cli/checksums.sha256").read_text()


@pytest.fixture(scope="module")
def marked(run_job: RunJob, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pictures of a parent of 64 × 32 with a mask, an outline and points, cut to 64 × 64."""
    home = tmp_path_factory.mktemp("marked")
    root = labelled.classes(home / "set", {"star": 1}, size=(64, 32))
    mask = np.zeros((32, 64), np.uint8)
    mask[4:8, 20:40] = 255
    (root / "masks").mkdir()
    Image.fromarray(mask).save(root / "masks" / "0.bmp")
    line = {
        "file_name": "star/0.png", "label": "star", "boxes": [[20, 4, 20, 4]], "keypoints": [20, 4, 2],
        "segmentation": [[20, 4, 40, 4, 40, 8, 20, 8]], "object_mask": "masks/0.bmp",
    }  # fmt: skip
    (root / "metadata.jsonl").write_text(json.dumps(line) + "\n")
    spec = {
        "recipe": "augment", "input": "set", "variations": 2, "prompt": "a {label}", "steps": 1, "boxes": "keep",
        "strength": 0.5, "width": 64, "height": 64, "fit": "crop", "render": {"threads": 1, "batch_size": 2},
    }  # fmt: skip
    (home / "job.yaml").write_text(json.dumps(spec))
    assert run_job(home / "job.yaml", home / "run").made == 2
    return home / "run"


def is_mask(picture: Any) -> bool:
    wanted = np.zeros((64, 64), bool)
    wanted[8:16, 8:48] = True
    return bool(((np.asarray(picture.convert("L")) > 127) == wanted).all())


def test_masks_and_outlines_follow_the_cut(marked: Path, tmp_path: Path) -> None:
    for to in FORMATS:
        api.export(marked, to, tmp_path / to)
    coco = json.loads((tmp_path / "coco/annotations/instances_train.json").read_text())
    assert [one["segmentation"] for one in coco["annotations"]] == [[[8, 8, 48, 8, 48, 16, 8, 16]]] * 2
    assert [one["bbox"] for one in coco["annotations"]] == [[8, 8, 40, 8]] * 2
    assert all(is_mask(Image.open(tmp_path / "coco/train" / one["mask_file_name"])) for one in coco["images"])
    line = json.loads((tmp_path / "imagefolder/train/metadata.jsonl").read_text().splitlines()[0])
    assert line["keypoints"] == [8, 8, 2] and "object_mask" not in line
    shards = [str(path) for path in (tmp_path / "webdataset").glob("*.tar")]
    webdataset = pytest.importorskip("webdataset")
    for sample in webdataset.WebDataset(shards, shardshuffle=False):
        assert is_mask(Image.open(io.BytesIO(sample["mask.png"])))
    datasets = pytest.importorskip("datasets")
    cache = str(tmp_path / "cache")
    for found in (
        datasets.load_dataset(str(tmp_path / "hf-dataset"), cache_dir=cache),
        datasets.load_dataset("imagefolder", data_dir=str(tmp_path / "imagefolder"), cache_dir=cache),
    ):
        assert len(found["train"]) == 2 and all(is_mask(row["object_mask"]) for row in found["train"])


def test_a_mask_that_is_gone_is_said(marked: Path, tmp_path: Path) -> None:
    mask = marked.parent / "set" / "masks" / "0.bmp"
    data = mask.read_bytes()
    mask.unlink()
    with pytest.raises(StoreError, match=r"object_mask: .*no such file"):
        api.export(marked, "webdataset", tmp_path / "out")
    mask.write_bytes(data)
