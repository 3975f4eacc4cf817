"""Runs in processes that are forked from one which has imported everything, so that they can be killed by the hundred.

The forkserver has no threads of its own (torch computes in one), so what it forks is sound. A child opens its files
anew; the model it has from its parent, since loading takes longer than all else that is killed here.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from multiprocessing import context, get_context
from pathlib import Path
from typing import Any

import pandas  # noqa: F401
import pytest

from sdbatch import api
from sdbatch.render.renderer import Renderer
from sdbatch.sources.names import Sources
from sdbatch.spec import load
from sdbatch.spec.grid import Rows
from sdbatch.types import Render, Row
from sdbatch.workers import local, pace, worker  # noqa: F401

TESTS = Path(__file__).parent


RENDER = Render(4, 1, "float32", "cpu", "sdpa", False, False, "auto", "degrade")
JOB: dict[str, Any] = {
    "name": "killed",
    "prompt": "a star",
    "steps": 1,
    "guidance_scale": 1,
    "render": {"batch_size": 4, "threads": 1},
    "grid": {"seed": {"range": [0, 16]}},
}


def _warm() -> Renderer:
    """A renderer that has its model, and has used it: what it needs is imported then."""
    sources = Sources(Path())
    made = Renderer(RENDER, sources)
    made.render(Rows(load.job_from_mapping(dict(JOB), Path()), None, sources).take([0]), 4)
    return made


class Listener:
    """Hears nothing."""

    def begin(self, planned: Any, left: int, directory: Path) -> None: ...

    def rows(self, count: int) -> None: ...

    def result(self, result: Any) -> None: ...

    def say(self, text: str) -> None: ...


_warm_one = _warm()


def run(spec: Path, directory: Path, rendered: Path) -> None:
    """A whole run; what it renders is written to `rendered`, the ids of each batch in a line, as it is begun."""
    renderer = _warm_one
    render = renderer.render

    def noted(rows: Sequence[Row], size: int, **how: Any) -> Any:
        with rendered.open("a", encoding="utf-8") as file:
            file.write(json.dumps([row.id for row in rows]) + "\n")
        return render(rows, size, **how)

    # One renderer, warm before the fork, for every run that is killed.
    renderer.render = noted  # type: ignore[method-assign]
    worker.Renderer = lambda render, sources: renderer  # type: ignore[assignment, misc]
    pace.LEAST_SECONDS = 0.0  # these rows take so little that one lease would hold them all
    api.run(api.job(spec, out=directory), api.RunOptions(), Listener())


def nothing() -> None:
    """Shows that the forkserver is there."""


class Nursery:
    """Starts runs."""

    def __init__(self) -> None:
        self._context: context.ForkServerContext = get_context("forkserver")
        self._context.set_forkserver_preload(["killing"])
        # The forkserver looks for what it imports where a fresh interpreter would.
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PYTHONPATH", str(TESTS), prepend=os.pathsep)
            self._wait(self._context.Process(target=nothing))

    @staticmethod
    def _wait(process: context.ForkServerProcess) -> None:
        process.start()
        process.join()
        assert process.exitcode == 0

    def start(self, spec: Path, directory: Path, rendered: Path) -> context.ForkServerProcess:
        """Start a run."""
        process = self._context.Process(target=run, args=(spec, directory, rendered))
        process.start()
        return process


def wait_for_event(process: context.ForkServerProcess, log: Path, events: int) -> None:
    """Until a run has written an event more than `events` to its log, or has ended."""
    deadline = time.monotonic() + 60
    while process.is_alive() and count_lines(log) <= events:
        assert time.monotonic() < deadline, "nothing was logged in a minute"
        time.sleep(0.002)


def count_lines(path: Path) -> int:
    """How many lines a file has; 0 where there is none."""
    return path.read_bytes().count(b"\n") if path.exists() else 0
