"""A folder of inputs, workers over it, and the ways in which rows are made there."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from exactly import Bench, Job, Pixels, Way, inputs

from sdbatch import api

Runner = Callable[..., api.RunReport]
_numbers = itertools.count()


def recorded(directory: Path) -> Pixels:
    """pixel_sha256 by id, as the manifest has them."""
    table = pq.read_table(directory / "manifest", columns=["id", "pixel_sha256"])
    return dict(zip(*(table.column(name).to_pylist() for name in ("id", "pixel_sha256")), strict=True))


def stopping_after(asked: int) -> Callable[[], bool]:
    """Asks a run to stop when it has looked so often; it looks between batches."""
    looks = itertools.count(1)
    return lambda: next(looks) > asked


@pytest.fixture
def new_bench(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Bench]:
    """Makes a bench in a folder of its own."""

    def _new() -> Bench:
        base = tmp_path_factory.mktemp("bench")
        inputs(base)
        return Bench(base)

    return _new


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A module's bench."""
    base = tmp_path_factory.mktemp("bench")
    inputs(base)
    return Bench(base)


@pytest.fixture(scope="session")
def ways(run_job: Runner) -> Callable[[Bench], dict[str, Way]]:
    """The ways by name; `continued` goes through a whole run that is stopped, limited, and gone on with."""

    def _run(bench: Bench, given: Job, **options: Any) -> Pixels:
        directory = bench.base / f"run-{next(_numbers)}"
        given = {**given, "render": {"batch_size": 4}}
        report = run_job(given, directory, **options)
        assert not report.failed
        if "stopping" in options:
            assert report.stopped and 0 < report.made < report.rows
            run_job(given, directory, limit=1)
            run_job(given, directory)
        found = recorded(directory)
        assert len(found) == report.rows
        return found

    def _ways(bench: Bench) -> dict[str, Way]:
        return {
            "alone": bench.alone,
            "shuffled": bench.shuffled,
            "more": bench.more,
            "fewer": bench.fewer,
            "three": bench.three,
            "continued": lambda given: _run(bench, given, stopping=stopping_after(3)),
            "ray": lambda given: _run(bench, given, executor="ray", actors=2),
        }

    return _ways
