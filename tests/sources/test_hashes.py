"""Content hashes: right, remembered, and never worse than hashing again."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from sdbatch.sources.hashes import HashCache, cache_folder


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(b"one")
    return path


def overwrite_unseen(path: Path, data: bytes) -> None:
    """Other bytes behind the same size, mtime and inode: only reading would tell."""
    stat = path.stat()
    assert len(data) == stat.st_size
    with path.open("r+b") as file:
        file.write(data)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert path.stat().st_ino == stat.st_ino


def test_the_hash_is_sha256(file: Path, tmp_path: Path) -> None:
    assert HashCache(tmp_path / "cache").sha256(file) == sha256(b"one")


def test_a_known_file_is_not_read_again(file: Path, tmp_path: Path) -> None:
    cache = HashCache(tmp_path / "cache")
    cache.sha256(file)
    overwrite_unseen(file, b"two")
    assert cache.sha256(file) == sha256(b"one")


def test_what_was_learnt_lasts_when_saved(file: Path, tmp_path: Path) -> None:
    unsaved = HashCache(tmp_path / "cache")
    unsaved.sha256(file)
    assert not (tmp_path / "cache").exists()
    unsaved.save()
    overwrite_unseen(file, b"two")
    assert HashCache(tmp_path / "cache").sha256(file) == sha256(b"one")
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["hashes.json"]


@pytest.mark.parametrize("change", ["size", "mtime", "inode"])
def test_a_changed_file_is_read_again(change: str, file: Path, tmp_path: Path) -> None:
    cache = HashCache(tmp_path / "cache")
    cache.sha256(file)
    stat = file.stat()
    data = b"three" if change == "size" else b"two"
    if change == "inode":
        other = tmp_path / "other"
        other.write_bytes(data)
        os.replace(other, file)
    else:
        with file.open("r+b") as opened:
            opened.write(data)
    later = 10**9 if change == "mtime" else 0
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns + later))
    assert cache.sha256(file) == sha256(data)


def test_a_link_is_its_target(file: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(file)
    cache = HashCache(tmp_path / "cache")
    assert cache.sha256(link) == cache.sha256(file) == sha256(b"one")


@pytest.mark.parametrize("ours", [True, False], ids=["the hub's cache", "anybody's folder"])
def test_a_hub_blob_is_known_by_its_name(ours: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path if ours else tmp_path / "other"))
    blob = tmp_path / "models--a--b" / "blobs" / ("ab" * 32)
    blob.parent.mkdir(parents=True)
    blob.write_bytes(b"not read")
    link = tmp_path / "model.safetensors"
    link.symlink_to(blob)
    assert HashCache(tmp_path / "cache").sha256(link) == ("ab" * 32 if ours else sha256(b"not read"))


def test_a_file_elsewhere_is_not_known_by_its_name(tmp_path: Path) -> None:
    """A user's own file may be named by any hash: that of its pixels, say."""
    path = tmp_path / ("ab" * 32)
    path.write_bytes(b"one")
    assert HashCache(tmp_path / "cache").sha256(path) == sha256(b"one")


def test_two_that_learn_at_once_lose_nothing(file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"1")
    first, second = HashCache(tmp_path / "cache"), HashCache(tmp_path / "cache")
    first.sha256(file)
    second.sha256(other)
    first.save()
    second.save()
    assert set(json.loads((tmp_path / "cache" / "hashes.json").read_text())) == {str(file), str(other)}


@pytest.mark.parametrize("broken", ["", "{", "[]", "3", "\x00", '{"PATH": 3}', '{"PATH": [1, 2]}', '{"PATH": null}'])
def test_a_broken_cache_is_ignored_and_made_anew(broken: str, file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    folder.mkdir()
    (folder / "hashes.json").write_text(broken.replace("PATH", str(file)), encoding="utf-8")
    cache = HashCache(folder)
    assert cache.sha256(file) == sha256(b"one")
    cache.save()
    assert sha256(b"one") in json.loads((folder / "hashes.json").read_text(encoding="utf-8"))[str(file)]


def test_a_cache_that_cannot_be_written_is_no_error(file: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_bytes(b"a file where the folder should be")
    cache = HashCache(tmp_path / "cache" / "deeper")
    assert cache.sha256(file) == sha256(b"one")
    cache.save()


def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        HashCache(tmp_path / "cache").sha256(tmp_path / "none")


def test_the_cache_lies_where_the_user_keeps_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "sdbatch"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder() == tmp_path / "home" / ".cache" / "sdbatch"
