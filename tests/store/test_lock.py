"""The lock: one holder, a dead one's lock taken over by exactly one, and a holder that notices when it lost it."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from sdbatch import api
from sdbatch.errors import BusyError, StoreError
from sdbatch.store import lock as locks
from sdbatch.store import owner as owners
from sdbatch.store.base import LocalStore
from sdbatch.store.lock import Lock
from sdbatch.store.owner import OWNER, STALE, Owner, holder, read

DEAD = 2**22 + 1  # above the kernel's largest process number
RACE = """
import json, os, sys, time
from pathlib import Path
from sdbatch.errors import BusyError
from sdbatch.store import lock
lock._flock = lambda root: (os.open(root / lock.LOCK, os.O_RDWR | os.O_CREAT), False)
home, rounds, start = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
won, held = [], []
for number in range(rounds):
    time.sleep(max(0, start + number * 0.05 - time.time()))
    one = lock.Lock(home / str(number))
    try:
        one.acquire()
    except BusyError:
        continue
    held.append(one)
    won.append(number)
print(json.dumps(won), flush=True)
sys.stdin.read()
"""


def no_flock(root: Path) -> tuple[int, bool]:
    """As on a network file system without locks."""
    return os.open(root / locks.LOCK, os.O_RDWR | os.O_CREAT), False


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "_flock", no_flock)


def dead(**changes: Any) -> Owner:
    """An owner on this machine whose process is gone."""
    owner = Owner(socket.gethostname(), owners.place(), DEAD, 1.0, False, "2026-01-01T00:00:00Z", "0" * 32)
    return replace(owner, **changes)


def put(root: Path, owner: Owner | bytes, age: float = 0.0, name: str = OWNER) -> None:
    data = owner if isinstance(owner, bytes) else json.dumps(asdict(owner)).encode()
    (root / name).write_bytes(data)
    os.utime(root / name, (time.time() - age,) * 2)


def taken(root: Path) -> bool:
    """Whether the lock can be had; it is given back."""
    lock = Lock(root)
    try:
        lock.acquire()
    except BusyError:
        return False
    assert (found := read(root)) is not None and found.pid == os.getpid()
    lock.leave()
    lock.close()
    return True


def names(root: Path) -> set[str]:
    return {entry.name for entry in os.scandir(root)}


def test_while_it_is_held_a_file_says_by_whom(tmp_path: Path) -> None:
    lock = Lock(tmp_path)
    lock.acquire()
    found = json.loads((tmp_path / OWNER).read_text())
    assert (found["host"], found["pid"]) == (socket.gethostname(), os.getpid()) and found["flock"] is True
    assert names(tmp_path) == {locks.LOCK, OWNER}
    with pytest.raises(BusyError) as caught:
        Lock(tmp_path).acquire()
    said = f"another run holds this directory (host {found['host']}, process {os.getpid()}, since {found['since']})"
    assert str(caught.value) == f"{tmp_path}: {said}"
    assert holder(tmp_path) == read(tmp_path) is not None
    lock.leave()
    lock.close()
    assert names(tmp_path) == {locks.LOCK} and holder(tmp_path) is None


@pytest.mark.usefixtures("network")
def test_a_second_one_is_kept_out_without_flock_too(tmp_path: Path) -> None:
    lock = Lock(tmp_path)
    lock.acquire()
    put(tmp_path, (tmp_path / OWNER).read_bytes(), age=10 * STALE)
    assert not taken(tmp_path), "a process that is there counts, however long it gave no sign"
    lock.leave()
    lock.close()
    assert taken(tmp_path) and names(tmp_path) == {locks.LOCK}


HERE = owners.started(os.getpid())


@pytest.mark.usefixtures("network")
@pytest.mark.parametrize(
    ("owner", "age", "free"),
    [
        (dead(), 0, True),
        (dead(pid=os.getpid(), started=HERE), STALE + 60, False),
        (dead(pid=os.getpid(), started=1.5), 0, True),  # another process got its number
        (dead(host="other", place="other"), 0, False),
        (dead(host="other", place="other"), STALE - 60, False),
        (dead(host="other", place="other"), STALE + 60, True),
        (dead(place="another boot"), STALE - 60, False),  # a host of the same name, or this one before it was restarted
        (dead(place="another boot"), STALE + 60, True),
        (b"", 0, False),
        (b"{", STALE + 60, True),
    ],
)
def test_who_counts_as_gone(owner: Owner | bytes, age: float, free: bool, tmp_path: Path) -> None:
    put(tmp_path, owner, age)
    before = (tmp_path / OWNER).read_bytes()
    assert taken(tmp_path) is free
    assert names(tmp_path) == ({locks.LOCK} if free else {locks.LOCK, OWNER})
    assert free or (tmp_path / OWNER).read_bytes() == before


def test_on_a_disk_of_this_machine_flock_is_the_whole_truth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the machine was restarted nobody waits: a live owner would hold `.lock`."""
    monkeypatch.setattr(locks, "_on_own_disk", lambda path: True)
    put(tmp_path, dead(place="another boot", flock=True))
    assert taken(tmp_path)
    put(tmp_path, dead(place="another boot", flock=False))
    assert not taken(tmp_path), "that owner had no flock, so ours says nothing of it"
    monkeypatch.setattr(locks, "_on_own_disk", lambda path: False)
    put(tmp_path, dead(place="another boot", flock=True))
    assert not taken(tmp_path), "elsewhere flock may not reach other hosts"


@pytest.mark.usefixtures("network")
def test_age_is_by_the_file_systems_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, dead(host="other", place="other"))
    monkeypatch.setattr(time, "time", lambda: 2e9)  # this host's clock is years ahead
    assert not taken(tmp_path)


@pytest.mark.usefixtures("network")
def test_a_process_that_waits_for_its_parent_is_gone(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        put(tmp_path, dead(pid=process.pid, started=owners.started(process.pid)))
        assert not taken(tmp_path)
        process.send_signal(signal.SIGKILL)
        deadline = time.monotonic() + 10
        while owners.started(process.pid) is not None and time.monotonic() < deadline:
            time.sleep(0.01)
        assert taken(tmp_path)


@pytest.mark.usefixtures("network")
def test_one_who_died_while_taking_over_is_in_nobodys_way(tmp_path: Path) -> None:
    put(tmp_path, dead())
    put(tmp_path, dead(token="1" * 32), name=f"{OWNER}-taken-{'0' * 32}")
    assert taken(tmp_path) and names(tmp_path) == {locks.LOCK}
    put(tmp_path, dead())
    put(tmp_path, dead(token="1" * 32, pid=os.getpid(), started=HERE), name=f"{OWNER}-taken-{'0' * 32}")
    assert not taken(tmp_path), "another one is taking over"


@pytest.mark.usefixtures("network")
def test_a_file_system_without_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: Path, target: Path) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    lock = Lock(tmp_path)
    lock.acquire()
    assert not taken(tmp_path)
    lock.leave()
    lock.close()
    put(tmp_path, dead())
    assert taken(tmp_path) and names(tmp_path) == {locks.LOCK}


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_flock(code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(file: int, how: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(locks.fcntl, "flock", refuse)
    lock = Lock(tmp_path)
    lock.acquire()
    assert (found := read(tmp_path)) is not None and not found.flock
    assert not taken(tmp_path)
    lock.leave()
    lock.close()


def test_of_many_processes_exactly_one_takes_a_dead_ones_lock_over(tmp_path: Path) -> None:
    rounds, count = 40, 5
    for number in range(rounds):
        (tmp_path / str(number)).mkdir()
        put(tmp_path / str(number), dead())
    start = time.time() + 2
    command = [sys.executable, "-c", RACE, str(tmp_path), str(rounds), str(start)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, **pipes) for _ in range(count)]
    try:
        won = [json.loads(process.stdout.readline()) for process in processes]  # all hold what they have
        assert sorted(number for numbers in won for number in numbers) == list(range(rounds))
        assert sum(bool(numbers) for numbers in won) > 1, "they did not race"
        for number in range(rounds):
            assert names(tmp_path / str(number)) == {locks.LOCK, OWNER}
    finally:
        for process in processes:
            process.communicate(timeout=10)


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Lock]:
    lock = Lock(tmp_path, beat=0.02)
    lock.acquire()
    yield lock
    lock.leave()
    lock.close()


def test_the_heart_beats_while_it_is_held_and_no_longer(tmp_path: Path) -> None:
    lock = Lock(tmp_path, beat=0.02)
    lock.acquire()
    os.utime(tmp_path / OWNER, (0, 0))
    deadline = time.monotonic() + 10
    while (tmp_path / OWNER).stat().st_mtime < 1 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert (tmp_path / OWNER).stat().st_mtime > 1
    assert "lock" in {thread.name for thread in threading.enumerate()}
    lock.leave()
    lock.close()
    assert "lock" not in {thread.name for thread in threading.enumerate()}


def test_a_lock_that_was_lost_is_noticed_and_left_to_its_new_owner(held: Lock, tmp_path: Path) -> None:
    held.confirm()
    put(tmp_path, dead(host="other", place="other"))
    with pytest.raises(BusyError, match=r"another run took this directory over \(host other, process \d+, since 2026"):
        held.confirm()
    (tmp_path / OWNER).unlink()
    with pytest.raises(StoreError, match=r"\.owner: removed or damaged while this run held the directory"):
        held.confirm()
    put(tmp_path, dead(host="other", place="other"))
    held.leave()
    assert (found := read(tmp_path)) is not None and found.host == "other"


def test_a_run_that_lost_its_lock_commits_nothing_more(run_job: Callable[..., api.RunReport], tmp_path: Path) -> None:
    run = tmp_path / "run"

    def lose() -> bool:
        if (run / "runs.jsonl").exists():
            put(run, dead(host="other", place="other"))
        return False

    with pytest.raises(BusyError, match="took this directory over"):
        run_job({"prompt": "a star", "steps": 1, "grid": {"seed": [1, 2]}}, run, stopping=lose)
    assert not list((run / "manifest").glob("*.parquet"))
    assert (found := read(run)) is not None and found.host == "other"
    (run / OWNER).unlink()
    assert run_job(tmp_path / "spec.yaml", run).done == 2


@pytest.mark.usefixtures("network")
def test_sweeping_does_not_break_the_lock(tmp_path: Path) -> None:
    put(tmp_path, dead(), name=f"{OWNER}-{'2' * 32}")
    store = LocalStore(tmp_path)
    with store.lock():
        store.sweep()
        store.confirm()
        assert names(tmp_path) == {locks.LOCK, OWNER}
