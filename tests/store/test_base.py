"""The disk: files whole or absent, one run at a time, and errors that name the path."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest

from sdbatch.errors import BusyError, StoreError
from sdbatch.store.base import TEMPORARY, LocalStore
from sdbatch.store.lock import LOCK
from sdbatch.store.owner import OWNER

HOLDER = """
import sys, time
from pathlib import Path
from sdbatch.store.base import LocalStore
with LocalStore(Path(sys.argv[1])).lock():
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "run")


def files(store: LocalStore) -> set[str]:
    return {path.relative_to(store.root).as_posix() for path in store.root.rglob("*") if path.is_file()}


@contextmanager
def holder(directory: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock."""
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(directory)], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def test_replace_makes_folders_and_replaces(store: LocalStore) -> None:
    store.replace("a/b/c.txt", b"old")
    store.replace("a/b/c.txt", b"new")
    assert store.read("a/b/c.txt") == b"new"
    assert files(store) == {"a/b/c.txt"}


@pytest.mark.parametrize("at", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    at: str, error: BaseException, store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.replace("a.txt", b"old")

    def fail(*arguments: object) -> NoReturn:
        raise error

    monkeypatch.setattr(os, at, fail)
    with pytest.raises((StoreError, KeyboardInterrupt)) as caught:
        store.replace("a.txt", b"new")
    monkeypatch.undo()
    assert store.read("a.txt") == b"old"
    assert files(store) == {"a.txt"}
    if isinstance(error, OSError):
        assert str(caught.value) == f"{store.root / 'a.txt'}: No space left on device"


def test_the_data_is_on_the_disk_before_the_name_is(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def watch(name: str) -> None:
        plain = getattr(os, name)

        def watched(*arguments: object) -> None:
            seen.append(name)
            plain(*arguments)

        monkeypatch.setattr(os, name, watched)

    watch("fsync")
    watch("replace")
    store.replace("a.txt", b"x")
    assert seen[:2] == ["fsync", "replace"]


def test_a_reader_never_sees_a_part(store: LocalStore) -> None:
    size = 1 << 20
    store.replace("a", b"0" * size)
    stop = threading.Event()

    def write() -> None:
        for turn in range(20):
            store.replace("a", str(turn % 10).encode() * size)
        stop.set()

    writer = threading.Thread(target=write)
    writer.start()
    seen = []
    while not stop.is_set():
        data = store.read("a") or b""
        seen.append((len(data), len(set(data))))
    writer.join()
    assert set(seen) == {(size, 1)}


def test_append_adds_one_line(store: LocalStore) -> None:
    store.append("log.jsonl", "one")
    store.append("log.jsonl", "zwö\n")
    assert store.read("log.jsonl") == "one\nzwö\n".encode()


def test_what_is_not_there_is_none_and_empty(store: LocalStore) -> None:
    assert store.read("a") is None
    assert store.list("manifest") == []
    store.remove("a")


def test_list_is_sorted_and_hides_temporary_files_and_folders(store: LocalStore) -> None:
    for name in ("b.parquet", "a.parquet", f"{TEMPORARY}123"):
        store.replace(f"manifest/{name}", b"x")
    store.replace("manifest/sub/c.parquet", b"x")
    assert store.list("manifest") == ["manifest/a.parquet", "manifest/b.parquet"]


def test_sweep_removes_what_a_killed_run_left(store: LocalStore) -> None:
    store.replace("images/red/a.png", b"x")
    (store.root / "images" / "red" / f"{TEMPORARY}1").write_bytes(b"x")
    (store.root / f"{TEMPORARY}2").write_bytes(b"x")
    store.sweep()
    assert files(store) == {"images/red/a.png"}


def test_remove(store: LocalStore) -> None:
    store.replace("a", b"x")
    store.remove("a")
    assert files(store) == set()


@pytest.mark.parametrize("path", ["../x", "images/../../x", "/tmp/x"])
def test_no_path_leaves_the_directory(path: str, store: LocalStore) -> None:
    store.root.mkdir()
    calls: list[Callable[[], object]] = [
        lambda: store.replace(path, b"x"), lambda: store.read(path), lambda: store.list(path),
        lambda: store.remove(path), lambda: store.append(path, "x"),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(StoreError, match="would leave the run directory"):
            call()
    assert not (store.root.parent / "x").exists()


def test_a_place_that_cannot_be_written_is_a_store_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    store = LocalStore(tmp_path / "file" / "run")
    calls: list[Callable[[], object]] = [
        lambda: store.replace("a", b"x"), lambda: store.read("a"), lambda: store.remove("a"),
        lambda: store.append("a", "x"), lambda: store.lock().__enter__(),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(StoreError, match=r"file.*: Not a directory"):
            call()


def test_the_lock_is_freed_and_can_be_taken_again(store: LocalStore) -> None:
    for _ in range(2):
        with store.lock(), pytest.raises(BusyError), LocalStore(store.root).lock():
            pass
    with pytest.raises(RuntimeError, match="inside"), store.lock():
        raise RuntimeError("inside")
    with store.lock():
        pass


def test_the_lock_keeps_a_second_process_out_until_the_holder_dies(store: LocalStore) -> None:
    with holder(store.root) as process:
        with pytest.raises(BusyError, match=r"run: another run holds this directory"), store.lock():
            pass
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        with store.lock():
            pass


def test_nothing_is_left_where_nothing_was_begun(tmp_path: Path) -> None:
    with LocalStore(tmp_path / "run").lock():
        assert {path.name for path in (tmp_path / "run").iterdir()} == {LOCK, OWNER}
    assert not (tmp_path / "run").exists()
    (tmp_path / "mine").mkdir()
    with LocalStore(tmp_path / "mine").lock():
        pass
    assert [path.name for path in (tmp_path / "mine").iterdir()] == [LOCK]


def test_what_is_appended_to_is_no_program(store: LocalStore) -> None:
    store.append("log.jsonl", "{}")
    assert not (store.root / "log.jsonl").stat().st_mode & 0o111
