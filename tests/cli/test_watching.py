"""`sdbatch run` for programs that watch: JSON on standard error, numbers in a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from sdbatch.cli.events import Events

JOB = "model: demo\nprompt: a star\nsteps: 1\nrender: {threads: 1}\ngrid: {seed: [0, 1]}\n"


def events(text: str) -> list[dict[str, Any]]:
    """All but the progress, which comes by the clock."""
    found = [json.loads(line) for line in text.splitlines()]
    return [one for one in found if one["event"] != "progress"]


def exit_code(path: Path) -> float:
    families = text_string_to_metric_families(path.read_text(encoding="utf-8"))
    return next(one.samples[0].value for one in families if one.name == "sdbatch_run_exit_code")


def test_a_run_as_events(sdbatch: Any, write: Any, tmp_path: Path) -> None:
    job = write("job.yaml", JOB)
    done = sdbatch("run", job, "--out", "run", "--log-format", "json", "--metrics", "a.prom")
    assert done.returncode == 0 and done.stdout == "run\n"
    found = events(done.stderr)
    assert [one["event"] for one in found] == ["begin", "lease", "end"]
    assert (found[0]["rows"], found[0]["left"]) == (2, 2)
    assert (found[1]["made"], found[1]["failed"]) == (2, 0) and ":" in found[1]["worker"]
    assert (found[2]["made"], found[2]["exit_code"]) == (2, 0)
    assert exit_code(tmp_path / "a.prom") == 0


def test_what_goes_wrong_is_an_event_too(sdbatch: Any, write: Any, tmp_path: Path) -> None:
    job = write("job.yaml", JOB + "mode: img2img\nimage: missing.png\non_finish: 'true'\n")
    done = sdbatch("run", job, "--out", "run", "--log-format", "json", "--metrics", "a.prom")
    assert done.returncode == 2
    (only,) = events(done.stderr)
    assert (only["event"], only["exit_code"]) == ("error", 2) and "--hooks" in only["message"]
    assert exit_code(tmp_path / "a.prom") == 2
    done = sdbatch("run", job, "--out", "run", "--log-format", "json", "--no-hooks", "--metrics", "a.prom")
    assert done.returncode == 1
    found = events(done.stderr)
    assert [one["event"] for one in found] == ["begin", *["row_failed"] * 4, "lease", "end"]
    assert found[1]["error"] == "InputError" and exit_code(tmp_path / "a.prom") == 1


def test_other_formats_are_refused(sdbatch: Any, write: Any) -> None:
    done = sdbatch("run", write("job.yaml", JOB), "--log-format", "xml")
    assert (done.returncode, done.stderr) == (2, "sdbatch: --log-format 'xml': one of text, json\n")


@pytest.mark.slow
def test_only_some_rows_are_made_and_the_others_later(sdbatch: Any, write: Any, tmp_path: Path) -> None:
    job = write("job.yaml", "prompt: a {color} star\nsteps: 1\nrender: {threads: 1}\n"
                "grid: {color: [red, blue], seed: {range: [0, 3]}}\n")  # fmt: skip
    done = sdbatch("run", job, "--out", "run", "--where", "seed < 2 and prompt == 'a red star'", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["made"], report["left"], report["rows"], report["limited"], report["retired"]) == (2, 4, 6, True, 0)
    done = sdbatch("run", job, "--out", "run", "--json")
    assert json.loads(done.stdout)["made"] == 4
    done = sdbatch("run", job, "--out", "run", "--where", "seed == 0", "--json")
    report = json.loads(done.stdout)
    assert (report["made"], report["left"], report["done"], report["limited"]) == (0, 0, 6, False)


def test_a_condition_that_is_none_is_said_and_makes_nothing(sdbatch: Any, write: Any, tmp_path: Path) -> None:
    job = write("job.yaml", JOB)
    for text, said in [
        ("sead < 2", "rows have no 'sead'; did you mean 'seed'?"),
        ("seed =", "is no condition: "),
        ("prompt < 3", "have no order"),
    ]:
        done = sdbatch("run", job, "--out", "run", "--where", text)
        assert done.returncode == 2 and done.stderr.startswith(f"sdbatch: --where {text!r}: ") and said in done.stderr
        assert not list((tmp_path / "run").glob("manifest/*")) and not (tmp_path / "run" / "job.yaml").exists()


def test_progress_is_an_event_by_the_clock(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    told = Events(quiet=False)
    told.start("begins", 8)
    told._shown = -1e9
    told.rows(2)
    *_, last = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert (last["event"], last["done"], last["left"], last["failed"]) == ("progress", 2, 6, 0) and last["to_go"] >= 0
