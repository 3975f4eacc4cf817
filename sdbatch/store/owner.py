"""Who holds a run directory, and whether that is still there."""

from __future__ import annotations

import json
import os
import socket
import time
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path

import psutil

OWNER = ".owner"
STALE = 600.0
"""Seconds without a sign of life after which an owner on another machine counts as gone."""
UNSEEN = -1.0


@dataclass(frozen=True, slots=True)
class Owner:
    """Who holds a directory.

    Attributes:
        place: what tells one set of process numbers from another: the machine's boot and the process namespace.
        started: of the process, in clock ticks since the boot, or seconds where there is no /proc.
        flock: whether it holds `.lock` too.
        since: ISO 8601, UTC.
    """

    host: str
    place: str
    pid: int
    started: float
    flock: bool
    since: str
    token: str

    def __str__(self) -> str:
        return f"host {self.host}, process {self.pid}, since {self.since}"


def holder(root: Path) -> Owner | None:
    """The live owner of a directory, as far as can be told without writing to it; None where there is none."""
    there = read(root)
    if there is None:
        return None
    if there.place == place():
        return there if alive(there) else None
    try:
        return there if time.time() - (root / OWNER).stat().st_mtime <= STALE else None
    except OSError:
        return None


def read(root: Path, name: str = OWNER) -> Owner | None:
    """What an owner's file says; None where there is none, or it does not read as one."""
    try:
        found = json.loads((root / name).read_bytes())
        return Owner(**{field.name: found[field.name] for field in fields(Owner)})
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def place() -> str:
    """What tells one set of process numbers from another."""
    parts = [socket.gethostname()]
    for name in ("/proc/sys/kernel/random/boot_id", "/proc/self/ns/pid"):
        with suppress(OSError):
            parts.append(os.readlink(name) if name.endswith("pid") else Path(name).read_text().strip())
    return " ".join(parts)


def started(pid: int) -> float | None:
    """When a process started; None where it is gone or is dead and waits for its parent; UNSEEN where it hides."""
    try:
        rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if rest[0] in "ZX" else float(rest[19])  # fields 3 and 22 of proc(5)
    except OSError:
        pass
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.Error:
        return UNSEEN if psutil.pid_exists(pid) else None


def alive(owner: Owner) -> bool:
    """Whether a process of this machine is still the one that took the lock."""
    return started(owner.pid) in (owner.started, UNSEEN)
