"""The run directory: its lock, job.yaml, runs.jsonl and log.jsonl."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sdbatch.errors import StoreError
from sdbatch.sources import remote
from sdbatch.store import base
from sdbatch.store.manifest import FOLDER, Manifest

JOB, RUNS, LOG = "job.yaml", "runs.jsonl", "log.jsonl"
NEEDED = {"run", "job", "spec", "render", "output", "device", "memory", "models", "started_at"}
"""What every line of runs.jsonl has."""


def now() -> str:
    """The time as ISO 8601 text in UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class RunDirectory:
    """A run directory on a disk, or in a bucket.

    Args:
        path: the directory, or its URL; it need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = remote.located(path)
        self.store = base.at(self.path)
        self.unlogged, self.log_error = 0, ""

    @property
    def begun(self) -> bool:
        """Whether a run was ever started here."""
        return self.store.exists(JOB)

    @property
    def present(self) -> bool:
        """Whether anything is here that shows that a run was: a manifest alone will do."""
        return any(self.store.exists(name) for name in (JOB, RUNS)) or bool(self.store.list(FOLDER))

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the directory alone; BusyError where another run does. What fails inside says how to go on."""
        try:
            with self.store.lock():
                yield
        except StoreError as error:
            if not self.begun or "sdbatch fsck" in str(error):
                raise
            raise StoreError(
                f"{error}; what is committed stays: the same run goes on once the cause is gone, "
                f"and `sdbatch fsck {self.store.shown()}` says whether anything is damaged"
            ) from error

    def manifest(self, run: str = "", fields: tuple[str, ...] = ()) -> Manifest:
        """The directory's manifest, for reading, or for writing as a run."""
        return Manifest(self.store, run, fields)

    def runs(self) -> list[dict[str, Any]]:
        """What is known of each run, oldest first.

        Raises:
            StoreError: runs.jsonl is damaged.
        """
        data = self.store.read(RUNS)
        try:
            runs = [json.loads(line) for line in (data or b"").decode("utf-8").splitlines() if line.strip()]
        except ValueError as error:
            raise StoreError(f"{self.store.shown(RUNS)} is damaged: {error}; {self._mend}") from error
        if not all(isinstance(run, dict) and run.keys() >= NEEDED for run in runs):
            raise StoreError(f"{self.store.shown(RUNS)} is damaged: a line is not a run; {self._mend}")
        return runs

    @property
    def _mend(self) -> str:
        return f"`sdbatch fsck {self.store.shown()} --repair` takes such lines out"

    def begin(self, run: dict[str, Any], job_yaml: str) -> None:
        """Write down a run before its first picture, with `outcome` null until it ends."""
        self.store.replace(JOB, job_yaml.encode("utf-8"))
        self._write([*self.runs(), {**run, "started_at": now(), "outcome": None}])
        self.log("run_started", run=run["run"])

    def finish(self, run: str, outcome: dict[str, Any]) -> None:
        """Write down how a run ended."""
        done = [
            {**line, "finished_at": now(), "outcome": outcome} if line["run"] == run else line for line in self.runs()
        ]
        self._write(done)
        self.log("run_finished", run=run, **outcome)

    def log(self, event: str, **values: Any) -> None:
        """Add an event to log.jsonl; one that cannot be written is no reason to lose a run, and is counted."""
        try:
            self.store.append(LOG, json.dumps({"time": now(), "event": event, **values}, ensure_ascii=False))
        except StoreError as error:
            self.unlogged, self.log_error = self.unlogged + 1, str(error)

    def _write(self, runs: list[dict[str, Any]]) -> None:
        self.store.confirm()
        self.store.replace(RUNS, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in runs).encode())
