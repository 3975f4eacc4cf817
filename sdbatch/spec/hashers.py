"""Batches hashed in processes beside this one, in turn: the hashing of many rows takes most of the time of a plan."""

from __future__ import annotations

import marshal
import os
import queue
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from sdbatch.spec import hashing
from sdbatch.spec.hashing import Work

MANY = 200_000
"""Rows from which on processes are worth their start."""
MOST = 8
Item = TypeVar("Item")


def fitting(rows: int) -> int:
    """How many processes are worth it for so many rows; 0 where this one is to do it alone."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows have none
        cores = os.cpu_count() or 1
    return 0 if rows < MANY or cores < 2 or _command() is None else min(cores, MOST)


class Hashers:
    """Some processes; they are started when the first batch comes, and end with the `with`.

    They are started from a file and share nothing with this process: neither its threads nor its devices, and a script
    needs no guard around what it calls. A process that fails is done without, and its batch is hashed here.
    """

    def __init__(self, processes: int) -> None:
        self._idle: queue.SimpleQueue[_Process | None] = queue.SimpleQueue()
        for _ in range(processes):
            self._idle.put(None)
        self._count = processes
        self._threads = ThreadPoolExecutor(processes, "sdbatch-hash") if processes else None

    def __enter__(self) -> Hashers:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._threads is not None:
            self._threads.shutdown(cancel_futures=True)
            for _ in range(self._count):
                if (process := self._idle.get()) is not None:
                    process.close()

    def ordered(self, works: Iterable[tuple[Item, Work]]) -> Iterator[tuple[Item, bytes]]:
        """Each item with the digests of its work, in the order given; a few are waited for at a time."""
        waiting: deque[tuple[Item, Future[bytes]]] = deque()
        for item, work in works:
            if self._threads is None:
                yield item, hashing.digests(work)
                continue
            waiting.append((item, self._threads.submit(self._hashed, work)))
            if len(waiting) > self._count + 2:
                first, answer = waiting.popleft()
                yield first, answer.result()
        while waiting:
            first, answer = waiting.popleft()
            yield first, answer.result()

    def _hashed(self, work: Work) -> bytes:
        process = self._idle.get()
        try:
            process = process or _Process()
            return process.hashed(work)
        except (OSError, EOFError):
            if process is not None:
                process.close()
                process = None
            return hashing.digests(work)
        finally:
            self._idle.put(process)


class _Process:
    """One process that hashes. Every method raises OSError or EOFError where it is no more."""

    def __init__(self) -> None:
        command = _command()
        if command is None:
            raise OSError("there is no Python to start")
        pipe = subprocess.PIPE
        self._child = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL)

    def hashed(self, work: Work) -> bytes:
        """The digests of one batch."""
        source, target = self._child.stdout, self._child.stdin
        assert source is not None and target is not None
        task = marshal.dumps(tuple(work))
        target.write(len(task).to_bytes(hashing.LENGTH_BYTES, "little"))
        target.write(task)
        target.flush()
        size = work.rows * hashing.DIGEST_BYTES * (1 if work.lines is None else 2)
        found = source.read(size)
        if len(found) != size:
            raise EOFError("the process ended early")
        return found

    def close(self) -> None:
        """End the process."""
        with suppress(OSError):
            self._child.kill()
        for pipe in (self._child.stdin, self._child.stdout):
            with suppress(OSError):
                if pipe is not None:
                    pipe.close()
        self._child.wait()


def _command() -> list[str] | None:
    """How to start one; None where this is no plain Python, or the file lies in an archive."""
    python, script = sys.executable or "", Path(hashing.__file__)
    plain = Path(python).name.lower().startswith(("python", "pypy"))
    return [python, "-I", "-S", str(script)] if plain and script.is_file() else None
