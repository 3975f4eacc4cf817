"""`sdbatch anonymize`: what is said before anything is made, and which picture is behind a name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image

from sdbatch.sources import hidden


def test_names_tell_which_picture_is_which(sdbatch: Any, tmp_path: Path) -> None:
    (tmp_path / "photos" / "a").mkdir(parents=True)
    for at, name in enumerate(["a/one.png", "two.jpg"]):
        Image.new("RGB", (16, 16), (at, 9, 9)).save(tmp_path / "photos" / name)
    (tmp_path / "key.bin").write_bytes(b"k" * 32)
    done = sdbatch("anonymize", "photos", "--key-file", "key.bin", "--names")
    assert done.returncode == 0, done.stderr
    found = dict(line.split("\t") for line in done.stdout.splitlines())
    assert sorted(found.values()) == ["a/one.png", "two.jpg"]
    for name, picture in found.items():
        assert hidden.named(b"k" * 32, tmp_path / "photos" / picture)[0] == name
    assert sorted(path.name for path in tmp_path.iterdir()) == ["key.bin", "photos"], "nothing is made"


def test_what_is_missing_is_said_with_its_option(sdbatch: Any, tmp_path: Path) -> None:
    done = sdbatch("anonymize", "photos", "--key-file", "key.bin", "--out", "run")
    assert done.returncode == 2 and "--key-file key.bin: no such file; `openssl rand" in done.stderr
    (tmp_path / "key.bin").write_bytes(b"k" * 32)
    done = sdbatch("anonymize", "photos", "--key-file", "key.bin")
    assert done.returncode == 2 and "--out DIR is needed" in done.stderr
    done = sdbatch("anonymize", "photos", "--key-file", "key.bin", "--names")
    assert done.returncode == 2 and "photos" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["key.bin"]
