"""Parts of the manifest: opened once, whatever they are asked, and the same lines whether these are kept or not."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest
from manifestlines import line

from sdbatch.store import parts
from sdbatch.store.base import LocalStore
from sdbatch.store.manifest import Manifest, schema


class Counting(LocalStore):
    """Counts how often each file is read."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.reads: Counter[str] = Counter()

    def read(self, path: str) -> bytes | None:
        self.reads[path] += 1
        return super().read(path)


@pytest.fixture
def store(tmp_path: Path) -> Counting:
    """Seventy parts of three lines, the second half with a free column."""
    store = Counting(tmp_path)
    for run, free in (("a", {}), ("b", {"label": "x"})):
        manifest = Manifest(store, run, list(free))
        for at in range(35 if free else 0, 70 if free else 35):
            manifest.commit([line(3 * at + more, **free) for more in range(3)])
    store.reads.clear()
    return store


IDS = [f"{number:020x}" for number in range(210)]


def ids(manifest: Manifest) -> list[str]:
    return sorted(text for some, _ in manifest.done().lines() for text in some.texts())


def test_a_part_is_opened_once_for_all_that_a_finished_run_asks(store: Counting) -> None:
    Manifest(store, "again").open()  # all of one schema from here on
    store.reads.clear()
    manifest = Manifest(store, "again")
    manifest.open()
    done = manifest.done()
    assert ids(manifest) == IDS and (len(done), done.free) == (210, True)
    assert set(store.reads.values()) == {1} and len(store.reads) == 70


@pytest.mark.parametrize(("kept", "together"), [(0, 7), (10, 65_536), (100, 1), (10**6, 20)])
def test_lines_are_the_same_whether_they_are_kept_or_read_anew(
    kept: int, together: int, store: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "KEPT", kept)
    monkeypatch.setattr(parts, "_TOGETHER", together)
    manifest = Manifest(store, "again")
    manifest.open()
    assert ids(manifest) == IDS == ids(manifest)
    assert {str(parts._file(store, path).schema_arrow) for path in store.list("manifest")} == {str(schema(["label"]))}


def test_what_is_committed_or_taken_out_afterwards_counts(store: Counting) -> None:
    manifest = Manifest(store, "again")
    manifest.open()
    manifest.commit([line(500)])
    assert ids(manifest) == sorted([*IDS, f"{500:020x}"])
    rows = pa.array([f"{1000 + number:020x}" for number in (0, 209)], pa.string())
    assert sorted(manifest.forget(rows)) == ["images/0.png", "images/209.png"]
    assert ids(manifest) == sorted([*IDS[1:-1], f"{500:020x}"])


def test_columns_by_name_are_read_without_a_look_at_all_parts_first(store: Counting) -> None:
    table = Manifest(store, "look").read(["row", "field_label"])
    assert (table.num_rows, table.column("field_label").null_count) == (210, 105)
    assert set(store.reads.values()) == {1}
