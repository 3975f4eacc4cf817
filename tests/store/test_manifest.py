"""The manifest: parts of one schema, and damage that is said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
from manifestlines import USES, line

from sdbatch.errors import StoreError
from sdbatch.parameters import PARAMETERS
from sdbatch.store.base import LocalStore
from sdbatch.store.manifest import Manifest, record, schema
from sdbatch.store.parts import part_bytes
from sdbatch.types import Failure, Record, Row


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path)


def failure(number: int, error: str = "RowError") -> Failure:
    return Failure(f"{number:020x}", f"{number + 1000:020x}", 1, error, "why", "2026-01-01T00:00:00.000Z", "here")


def write(store: LocalStore, run: str, records: list[Record], fields: list[str] | None = None) -> Manifest:
    manifest = Manifest(store, run, fields or [])
    manifest.open()
    manifest.commit(records)
    return manifest


def schemas(store: LocalStore) -> list[Any]:
    return [pq.read_schema(store.root / path) for path in store.list("manifest")]


def test_a_part_has_every_parameter_with_its_type(store: LocalStore) -> None:
    write(store, "r", [line(1, label="x")], ["label"])
    (found,) = schemas(store)
    assert found.equals(schema(["label"]))
    types = {name: str(found.field(name).type) for name in ("seed", "guidance_scale", "prompt", "loras", "field_label")}
    assert types == {"seed": "int64", "guidance_scale": "double", "prompt": "string", "loras": "string",
                     "field_label": "string"}  # fmt: skip
    assert set(PARAMETERS) < set(found.names)


def test_what_the_mode_has_no_use_for_is_null(store: LocalStore) -> None:
    write(store, "r", [line(7)])
    read = pd.read_parquet(store.root / "manifest").iloc[0]
    assert (read["seed"], read["guidance_scale"], read["eta"], read["schema_version"]) == (7, 4.0, 0.0, 1)
    assert pd.isna(read["strength"]) and pd.isna(read["fit"]) and pd.isna(read["mask"])


def test_json_values_are_json_text() -> None:
    params = {name: parameter.default for name, parameter in PARAMETERS.items()}
    row = Row("0" * 20, "1" * 20, "main", "a.png", {**params, "loras": [{"weight": 0.5, "name": "b"}]}, {})
    assert record(row, USES, {})["loras"] == '[{"name": "b", "weight": 0.5}]'
    assert record(row, USES - {"loras"}, {})["loras"] is None


def test_every_part_has_one_schema_and_pandas_reads_the_folder(store: LocalStore) -> None:
    write(store, "r1", [line(1, a="one")], ["a"])
    write(store, "r2", [line(2, b="two")], ["b"])
    write(store, "r3", [line(3)])
    found = schemas(store)
    assert len(found) == 3 and all(one.equals(schema(["a", "b"])) for one in found)
    table = pd.read_parquet(store.root / "manifest").set_index("seed").astype(object)
    assert table["field_a"].where(table["field_a"].notna(), None).to_dict() == {1: "one", 2: None, 3: None}
    assert table["field_b"].where(table["field_b"].notna(), None).to_dict() == {1: None, 2: "two", 3: None}


def test_opening_rewrites_no_part_that_is_as_it_should_be(store: LocalStore) -> None:
    write(store, "r1", [line(1, a="one")], ["a"])
    (path,) = store.list("manifest")
    before = (store.root / path).stat()
    Manifest(store, "r2", ["a"]).open()
    Manifest(store, "r2").open()
    after = (store.root / path).stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_done_is_every_line_once_committed(store: LocalStore) -> None:
    assert len(Manifest(store, "").done()) == 0
    manifest = write(store, "r", [line(1), line(2)])
    manifest.commit([line(3)])
    done = Manifest(store, "").done()
    assert (len(done), done.free) == (3, False)
    ids, rows = zip(*done.lines(), strict=True)
    assert sorted(text for part in ids for text in part.texts()) == [f"{number:020x}" for number in (1, 2, 3)]
    assert sorted(text for part in rows for text in part.texts()) == [f"{number + 1000:020x}" for number in (1, 2, 3)]


def test_failures_go_beside_and_are_not_done(store: LocalStore) -> None:
    manifest = Manifest(store, "r")
    manifest.commit([line(1)], [failure(2, "PictureError")])
    manifest.commit([], [failure(3)])
    manifest.commit([])
    assert [ids.texts() for ids, _ in Manifest(store, "").done().lines()] == [[f"{1:020x}"]]
    lost = Manifest(store, "").failures().to_pylist()
    assert [(one["id"], one["error"], one["run"], one["attempt"]) for one in lost] == [
        (f"{2:020x}", "PictureError", "r", 1), (f"{3:020x}", "RowError", "r", 1),
    ]  # fmt: skip
    assert len(store.list("manifest")) == 1 and len(store.list("failures")) == 2


def test_without_failures_there_is_an_empty_table(store: LocalStore) -> None:
    table = Manifest(store, "").failures()
    assert table.num_rows == 0 and "error" in table.column_names


def test_records_by_id(store: LocalStore) -> None:
    manifest = write(store, "r", [line(1), line(2), line(3)])
    found = manifest.records([f"{2:020x}", "nothing"])
    assert list(found) == [f"{2:020x}"] and found[f"{2:020x}"]["seed"] == 2


def test_read_gives_the_columns_asked_for(store: LocalStore) -> None:
    manifest = write(store, "r", [line(1)])
    assert manifest.read(["seed", "row"]).column_names == ["seed", "row"]


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def garbage(data: bytes) -> bytes:
    return b"not a Parquet file at all"


def nothing(data: bytes) -> bytes:
    return b""


def scratched(data: bytes) -> bytes:
    """The pages are altered; the footer, at the end, is whole."""
    return data[:4] + bytes(byte ^ 0xFF for byte in data[4:400]) + data[400:]


@pytest.mark.parametrize("damage", [cut, garbage, nothing, scratched])
@pytest.mark.parametrize("folder", ["manifest", "failures"])
def test_a_damaged_part_is_said_with_its_name(damage: Callable[[bytes], bytes], folder: str, store: LocalStore) -> None:
    Manifest(store, "r").commit([line(1)], [failure(2)])
    (path,) = store.list(folder)
    store.replace(path, damage(store.read(path) or b""))
    with pytest.raises(StoreError, match=rf"{folder}/r-000001\.parquet"):
        _ = Manifest(store, "").read() if folder == "manifest" else Manifest(store, "").failures()


def test_a_part_of_another_program_is_said_with_its_name(store: LocalStore) -> None:
    write(store, "r", [line(1)])
    (path,) = store.list("manifest")
    table = pq.read_table(store.root / path)
    at = table.column_names.index("seed")
    pq.write_table(table.set_column(at, "seed", [["many"]]), store.root / path)
    with pytest.raises(StoreError, match=r"manifest/r-000001\.parquet"):
        Manifest(store, "").read()


def test_temporary_files_are_not_parts(store: LocalStore) -> None:
    write(store, "r", [line(1)])
    (store.root / "manifest" / ".part-abc").write_bytes(b"torn")
    assert len(Manifest(store, "").done()) == 1
    assert len(pd.read_parquet(store.root / "manifest")) == 1


def test_parts_from_before_a_column_are_read_and_brought_up(store: LocalStore) -> None:
    """Runs of the first version had no watermark and no safety checker."""
    write(store, "old", [line(1)])
    (path,) = store.list("manifest")
    young = ["watermark", "watermark_bits", "safety"]
    store.replace(path, part_bytes(pq.read_table(store.root / path).drop_columns(young)))
    assert not set(young) & set(pq.read_schema(store.root / path).names)
    assert Manifest(store, "new").read(["id", *young]).to_pylist() == [
        {"id": line(1)["id"], "watermark": None, "watermark_bits": None, "safety": None}
    ]
    write(store, "new", [{**line(2), "watermark": "x", "watermark_bits": 0.5, "safety": "safe"}])
    assert len({str(found) for found in schemas(store)}) == 1
    assert sorted(pd.read_parquet(store.root / "manifest").watermark.dropna()) == ["x"]
