"""Data sets of every shape that is read: what they say of each picture, and what is said of broken ones."""

from __future__ import annotations

import json
from pathlib import Path

import labelled as made
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sdbatch.errors import InputError
from sdbatch.sources import datasets
from sdbatch.sources.datasets import Item


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def said(items: list[Item]) -> dict[str, dict[str, object]]:
    return {item.name: dict(item.columns) for item in items}


def test_class_directories_and_splits(tmp_path: Path) -> None:
    made.classes(tmp_path / "a", {"train/cat": 1, "val/dog": 1})
    assert said(datasets.read("a", tmp_path)) == {
        "train/cat/0.png": {"split": "train", "label": "cat"},
        "val/dog/0.png": {"split": "validation", "label": "dog"},
    }
    made.classes(tmp_path / "b", {"cat": 1, ".": 1})
    assert said(datasets.read("b", tmp_path)) == {"0.png": {}, "cat/0.png": {"label": "cat"}}
    assert list(said(datasets.read("b/**/*.png", tmp_path))) == ["b/0.png", "b/cat/0.png"]


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_a_metadata_file(tmp_path: Path, kind: str) -> None:
    made.classes(tmp_path / "set" / "train", {".": 2})
    lines = [{"file_name": f"{n}.png", "text": f"no. {n}", "score": str(n)} for n in range(2)]
    path = tmp_path / "set" / "train" / f"metadata.{kind}"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(lines), path)
    elif kind == "csv":
        path.write_text("file_name,text,score\n" + "".join(f"{n}.png,no. {n},{n}\n" for n in range(2)))
    else:
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = said(datasets.read("set", tmp_path))
    assert found["train/1.png"] == {"split": "train", "text": "no. 1", "score": "1"}


def test_tars_and_tables_hold_pictures_that_are_kept_once(tmp_path: Path) -> None:
    one = made.picture(1)
    samples = [
        {"__key__": "a/0", "png": one, "json": {"boxes": [[1, 2, 3, 4]]}, "cls": b"7"},
        {"__key__": "a/1", "jpg": made.picture(2), "txt": b"two\n"},
    ]
    made.tar(tmp_path / "00.tar", samples)
    found = datasets.read("00.tar", tmp_path)
    assert said(found) == {"a/0": {"boxes": [[1, 2, 3, 4]], "label": "7"}, "a/1": {"caption": "two"}}
    assert found[0].path.read_bytes() == one
    table = pa.table({"image": [{"bytes": one, "path": "x.png"}, {"bytes": one, "path": None}], "label": [3, 4]})
    pq.write_table(table, tmp_path / "t.parquet")
    rows = datasets.read("t.parquet", tmp_path)
    assert said(rows) == {"x.png": {"label": 3}, "00000001": {"label": 4}} and rows[0].path == found[0].path
    assert len(datasets.read("*.tar", tmp_path)) == 2


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "torn.tar").write_bytes(b"x" * 2000)
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    pq.write_table(pa.table({"label": [1]}), tmp_path / "none.parquet")
    made.classes(tmp_path / "meta", {".": 1})
    for given, why in {
        "empty": "holds no pictures", "nowhere": "no such folder", "torn.tar": "no whole tar",
        "broken.parquet": "cannot be read", "none.parquet": "there is none",
    }.items():  # fmt: skip
        with pytest.raises(InputError, match=why):
            datasets.read(given, tmp_path)
    for line, why in {
        '{"file_name": "../up.png"}': "no path in its folder", '{"file_name": "no.png"}': "is not there",
        "[]": "line 1 is not a JSON object", "{": "cannot be read", '{"text": "x"}': "file_name None",
    }.items():  # fmt: skip
        (tmp_path / "meta" / "metadata.jsonl").write_text(line + "\n")
        with pytest.raises(InputError, match=why):
            datasets.read("meta", tmp_path)


def test_a_link_that_leads_out_is_refused(tmp_path: Path) -> None:
    made.classes(tmp_path / "a", {"cat": 1})
    (tmp_path / "secret.png").write_bytes(made.picture(5))
    (tmp_path / "a" / "cat" / "1.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(InputError, match="links on the way lead to"):
        datasets.read("a", tmp_path)
