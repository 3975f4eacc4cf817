"""Numbers for Prometheus: read back by its own parser, never half written, never a reason to end a run."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from sdbatch.errors import UsageError
from sdbatch.report import metrics
from sdbatch.report.metrics import Metrics
from sdbatch.types import Failure, Lease, LeaseResult


def numbers(path: Path) -> dict[str, float]:
    found = {}
    for family in text_string_to_metric_families(path.read_text(encoding="utf-8")):
        for sample in family.samples:
            assert sample.labels["job_name"] == 'a "job"'
            found[sample.name.removeprefix("sdbatch_") + sample.labels.get("state", "")] = sample.value
    return found


def result(made: int, failed: int = 0) -> LeaseResult:
    lost = tuple(Failure("", f"failed {at}", 1, "Error", "", "", "") for at in range(failed))
    return LeaseResult(Lease(0, ()), tuple({"row": f"made {at}"} for at in range(made)), lost)


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Metrics, Path, list[float]]:
    clock = [100.0]
    monkeypatch.setattr(metrics.time, "monotonic", lambda: clock[0])
    path = tmp_path / "a.prom"
    return Metrics(path, 'a "job"'), path, clock


def test_a_run_from_its_begin_to_its_end(watched: tuple[Metrics, Path, list[float]]) -> None:
    made, path, clock = watched
    assert numbers(path)["run_exit_code"] == -1
    made.begin(SimpleNamespace(done=5), 20, path.parent)  # type: ignore[arg-type]  # of a plan it reads this alone
    assert (numbers(path)["rowsdone"], numbers(path)["rowsleft"]) == (5, 20)
    clock[0] += 10
    made.result(result(8, failed=2))
    found = numbers(path)
    assert (found["rowsdone"], found["rowsfailed"], found["rowsleft"], found["rows_made"]) == (13, 2, 10, 8)
    assert found["rows_per_second"] == pytest.approx(0.8) and found["seconds_to_go"] == pytest.approx(12.5)
    made.result(result(10))
    assert numbers(path)["rowsleft"] == 10, "not at every lease"
    made.end(1)
    found = numbers(path)
    assert (found["rowsleft"], found["run_exit_code"], found["seconds_to_go"]) == (0, 1, 0)
    assert found["run_end_timestamp_seconds"] >= found["run_start_timestamp_seconds"] > 1e9
    assert [one.name for one in path.parent.iterdir()] == ["a.prom"]


def test_a_file_that_cannot_be_written_is_said_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--metrics .*missing/a.prom: cannot be written: No such file"):
        Metrics(tmp_path / "missing" / "a.prom", "job")


def test_later_it_is_said_once_and_ends_nothing(tmp_path: Path) -> None:
    said: list[str] = []
    folder = tmp_path / "folder"
    folder.mkdir()
    made = Metrics(folder / "a.prom", "job", said.append)
    (folder / "a.prom").unlink()
    folder.rmdir()
    made.begin(SimpleNamespace(done=0), 2, tmp_path)  # type: ignore[arg-type]  # as above
    made.end(0)
    assert len(said) == 1 and "cannot be written" in said[0]


def test_it_hears_what_a_run_says() -> None:
    from sdbatch.api import Listener

    assert {name for name in vars(Listener) if not name.startswith("_")} <= set(dir(Metrics))
