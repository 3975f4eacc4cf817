"""Inputs by name: found, hashed and measured; what is wrong is said and not raised."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sdbatch.sources.hashes import HashCache
from sdbatch.sources.inputs import InputSource


@pytest.fixture
def cache(tmp_path: Path) -> HashCache:
    return HashCache(tmp_path / "cache")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = tmp_path / "jobs"
    (folder / "photos").mkdir(parents=True)
    Image.new("RGB", (20, 10), (1, 2, 3)).save(folder / "photos" / "a.png")
    return folder


def test_a_picture(base: Path, cache: HashCache) -> None:
    path = base / "photos" / "a.png"
    for name in ("photos/a.png", "photos/../photos/a.png", str(path)):
        found = InputSource(base, cache).find(name)
        assert (found.name, found.path, found.problem) == (name, path, None)
        assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        assert (found.width, found.height) == (20, 10)


def test_upright_and_arrays(base: Path, cache: HashCache) -> None:
    exif = Image.Exif()
    exif[0x0112] = 8
    Image.new("RGB", (20, 10)).save(base / "turned.jpg", exif=exif)
    np.save(base / "d.npy", np.zeros((3, 5)))
    source = InputSource(base, cache)
    assert (source.find("turned.jpg").width, source.find("turned.jpg").height) == (10, 20)
    assert (source.find("d.npy").width, source.find("d.npy").height) == (5, 3)
    assert [found.name for found in source.found()] == ["turned.jpg", "d.npy"]


def test_what_cannot_be_read_has_a_hash_of_its_own(base: Path, cache: HashCache) -> None:
    (base / "empty").touch()
    os.mkfifo(base / "pipe")
    (base / "ring").symlink_to("ring")
    (base / "dangling").symlink_to("none")
    source = InputSource(base, cache)
    said = {
        "none.png": "no such file", "dangling": "no such file", "empty": "is empty (0 bytes)",
        "photos": "is a directory, not a file", "pipe": "is a pipe or a device, not a file",
        "a\0b": "the name holds a NUL or half a character", "": "is a directory, not a file",
    }  # fmt: skip
    for name, reason in said.items():
        found = source.find(name)
        assert found.sha256 == f"missing:{os.path.abspath(found.path)}" and (found.width, found.height) == (0, 0)
        assert found.problem is not None and found.problem.endswith(f": {reason}"), name
    assert "symbolic links" in str(source.find("ring").problem)


def test_a_file_that_is_no_picture_is_hashed_all_the_same(base: Path, cache: HashCache) -> None:
    (base / "x.png").write_text("text")
    found = InputSource(base, cache).find("x.png")
    assert found.sha256 == hashlib.sha256(b"text").hexdigest()
    assert (found.width, found.height) == (0, 0) and "is not a picture" in str(found.problem)


def test_each_name_is_looked_up_once(base: Path, cache: HashCache) -> None:
    source = InputSource(base, cache)
    first, missing = source.find("photos/a.png"), source.find("b.png")
    (base / "photos" / "a.png").rename(base / "b.png")
    assert source.find("photos/a.png") is first and source.find("b.png") is missing
    assert InputSource(base, cache).find("b.png").sha256 == first.sha256


def test_hashes_last(base: Path, tmp_path: Path) -> None:
    source = InputSource(base, HashCache(tmp_path / "cache"))
    source.find("photos/a.png")
    assert not (tmp_path / "cache").exists()
    source.save()
    assert (tmp_path / "cache" / "hashes.json").stat().st_size > 64
    many = InputSource(base, HashCache(tmp_path / "other"))
    for at in range(64):
        many.find("photos/a.png" if not at else f"none{at}")
    assert (tmp_path / "other" / "hashes.json").exists()  # a run that is killed has not learnt for nothing


def test_threads(base: Path, cache: HashCache) -> None:
    source = InputSource(base, cache)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(source.find, ["photos/a.png"] * 200))
    assert all(one is found[0] for one in found)


def test_importing_the_room_loads_nothing_heavy() -> None:
    code = (
        "import sys; from sdbatch.sources import inputs, masks\n"
        "print([name for name in ('PIL', 'numpy', 'cv2', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
