"""What is no file with something in it is refused with its reason, and nobody waits for it."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from sdbatch.errors import InputError
from sdbatch.sources.files import at, opened, show


def reason(path: Path) -> str:
    with pytest.raises(InputError) as caught, opened(path):
        pass
    assert str(caught.value).startswith(f"{show(path)}: ")
    return str(caught.value).removeprefix(f"{show(path)}: ")


def test_a_file_is_opened(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    (tmp_path / "link").symlink_to("x")
    for name in ("x", "link"):
        with opened(tmp_path / name) as file:
            assert file.read() == b"abc"
        assert file.closed


def test_what_is_no_file(tmp_path: Path) -> None:
    assert reason(tmp_path / "none") == "no such file"
    assert reason(tmp_path) == "is a directory, not a file"
    (tmp_path / "empty").touch()
    assert reason(tmp_path / "empty") == "is empty (0 bytes)"
    assert reason(tmp_path / "empty" / "below") == "cannot be read: Not a directory"
    assert reason(tmp_path / ("x" * 300)) == "cannot be read: File name too long"
    assert reason(tmp_path / "a\0b") == "the name holds a NUL or half a character"
    assert reason(Path(os.devnull)) == "is a pipe or a device, not a file"


def test_links_to_nothing_and_in_rings(tmp_path: Path) -> None:
    (tmp_path / "dangling").symlink_to("none")
    assert reason(tmp_path / "dangling") == "no such file"
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert "symbolic links" in reason(tmp_path / "a")


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert reason(tmp_path / "pipe") == "is a pipe or a device, not a file"


def test_a_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path must be short
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind("s")
        assert reason(Path("s")) == "cannot be read: No such device or address"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read files of any mode, so that none can be refused")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    (tmp_path / "x").chmod(0)
    assert reason(tmp_path / "x") == "may not be read (permission denied)"


def test_refused_files_are_closed(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0
    for _ in range(20):
        reason(tmp_path)
    assert not before or len(os.listdir("/proc/self/fd")) == before


def test_names_stay_on_one_line() -> None:
    assert show("a\nb\x1b[31m\ud800é") == "a\\nb\\x1b[31m\\ud800é"


def test_paths_go_by_their_words(tmp_path: Path) -> None:
    """A run directory may be a link to another disk; its job.yaml counts the folders as they are named."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "runs").symlink_to("disk")
    (tmp_path / "x.png").touch()
    assert at(tmp_path / "runs", "../x.png") == tmp_path / "x.png"
    assert at(tmp_path, "/abs/x.png") == Path("/abs/x.png")
    assert at(tmp_path, "a\0b") == tmp_path / "a\0b"
