"""Who is told how a run ended, and that a spec alone tells nobody."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest

from sdbatch import api
from sdbatch.api import running, telling
from sdbatch.errors import BusyError, StoreError, UsageError

JOB = {"prompt": "a star", "steps": 1, "grid": {"seed": [0, 1]}}


class Server(ThreadingHTTPServer):
    """Answers with `codes` in turn, the last one from then on."""

    def __init__(self, *codes: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.codes, self.heard = list(codes), list[dict[str, Any]]()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook"


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        text = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.heard.append(json.loads(text))
        codes = self.server.codes
        self.send_response(codes.pop(0) if len(codes) > 1 else codes[0])
        self.end_headers()

    def log_message(self, *unused: Any) -> None: ...


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def start(*codes: int) -> Server:
        servers.append(Server(*codes))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telling, "WAIT_SECONDS", 0.0)


def heard(command_file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in command_file.read_text(encoding="utf-8").splitlines()]


def hooks(folder: Path) -> dict[str, str]:
    """Commands that write down what they are given, one object a line."""
    return {name: f"cat >> {folder}/{name}; echo >> {folder}/{name}" for name in ("on_finish", "on_failure")}


def test_a_spec_alone_tells_nobody_and_makes_nothing(run_job: Any, tmp_path: Path) -> None:
    job = {**JOB, "on_finish": f"touch {tmp_path}/mark"}
    with pytest.raises(UsageError, match=r"on_finish.*--hooks.*--no-hooks"):
        run_job(job, tmp_path / "run")
    assert not (tmp_path / "run").exists() and not (tmp_path / "mark").exists()
    assert run_job(job, tmp_path / "run", hooks=False).made == 2
    assert not (tmp_path / "mark").exists()


def test_a_finished_run_is_told_once(run_job: Any, tmp_path: Path, serve: Any) -> None:
    server = serve(200)
    job = {**JOB, **hooks(tmp_path)}
    job["on_finish"] = [job["on_finish"], server.address]
    run_job(job, tmp_path / "run", hooks=True)
    (told,) = heard(tmp_path / "on_finish")
    assert told == server.heard[0]
    assert told["made"] == told["done"] == told["rows"] == 2 and told["failed"] == told["left"] == 0
    assert (told["event"], told["exit_code"], told["error"], told["schema"]) == ("on_finish", 0, None, 1)
    assert told["directory"] == str(tmp_path / "run") and told["job"] == "spec" and told["seconds"] > 0
    assert not (tmp_path / "on_failure").exists()
    log = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert [(line["target"], line["outcome"]) for line in log if line["event"] == "hook"] == [
        (job["on_finish"][0], "exit code 0"),
        (server.address, "HTTP 200"),
    ]
    run_job(job, tmp_path / "run", hooks=True)
    assert len(heard(tmp_path / "on_finish")) == 1, "there was nothing to make"


def test_rows_that_fail_are_told_as_a_failure_too(run_job: Any, tmp_path: Path) -> None:
    job = {**JOB, **hooks(tmp_path), "mode": "img2img", "image": "missing.png"}
    report = run_job(job, tmp_path / "run", hooks=True)
    assert report.failed == 2
    for name in ("on_finish", "on_failure"):
        (told,) = heard(tmp_path / name)
        assert (told["event"], told["failed"], told["exit_code"]) == (name, 2, 1)


@pytest.mark.parametrize("limits", [{"limit": 1}, {"stopping": lambda: True}])
def test_a_run_that_is_cut_short_has_not_failed(run_job: Any, tmp_path: Path, limits: dict[str, Any]) -> None:
    run_job({**JOB, **hooks(tmp_path)}, tmp_path / "run", hooks=True, **limits)
    assert len(heard(tmp_path / "on_finish")) == 1 and not (tmp_path / "on_failure").exists()


@pytest.mark.parametrize(("error", "told"), [(StoreError("no room"), True), (BusyError("held"), False)])
def test_an_error_that_ends_a_run_is_told(
    run_job: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, told: bool
) -> None:
    def fail(*given: Any) -> None:
        raise error

    monkeypatch.setattr(running, "run", fail)
    with pytest.raises(type(error)):
        run_job({**JOB, **hooks(tmp_path)}, tmp_path / "run", hooks=True)
    assert (tmp_path / "on_failure").exists() == told and not (tmp_path / "on_finish").exists()
    if told:
        (what,) = heard(tmp_path / "on_failure")
        assert (what["exit_code"], what["error"]) == (74, "no room")


def test_what_cannot_be_told_changes_nothing(run_job: Any, tmp_path: Path, serve: Any) -> None:
    gone = serve(200)
    gone.shutdown()
    gone.server_close()
    targets = ["exit 3", "no-such-command-here", gone.address, serve(404).address, "exec 0<&-; sleep 0"]
    report = run_job({**JOB, "on_finish": targets}, tmp_path / "run", hooks=True)
    assert (report.made, report.exit_code) == (2, 0)
    log = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    outcomes = [line["outcome"] for line in log if line["event"] == "hook"]
    assert outcomes[:2] == ["exit code 3", "exit code 127"] and outcomes[2].startswith("not reached: ")
    assert outcomes[3:] == ["HTTP 404", "exit code 0"]


def test_an_address_that_fails_is_tried_again_but_not_for_ever(serve: Any) -> None:
    comes_back, never, refuses = serve(500, 503, 200), serve(500), serve(400)
    answers = [telling.told(server.address, "{}", "on_finish", ".") for server in (comes_back, never, refuses)]
    assert answers == ["HTTP 200", "HTTP 500", "HTTP 400"]
    assert [len(server.heard) for server in (comes_back, never, refuses)] == [3, telling.TRIES, 1]


def test_a_command_that_hangs_is_ended_with_all_that_it_began(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telling, "COMMAND_SECONDS", 0.3)
    said = telling.told("sleep 60 & echo $! > began; wait", "{}", "on_finish", str(tmp_path))
    assert said == "ended after 0.3 s"
    began = int((tmp_path / "began").read_text())
    for _ in range(100):
        if not psutil.pid_exists(began) or psutil.Process(began).status() == psutil.STATUS_ZOMBIE:
            return
        time.sleep(0.05)
    pytest.fail("what the command began goes on")


def test_a_command_runs_in_the_directory_and_knows_the_event(tmp_path: Path) -> None:
    telling.told('echo "$SDBATCH_EVENT" > event', "{}", "on_failure", str(tmp_path))
    assert (tmp_path / "event").read_text() == "on_failure\n"


@pytest.mark.parametrize("wrong", [3, "", "  ", [], [1], {"a": "b"}, ["a", ""], "a\0b"])
def test_what_is_no_hook_is_a_mistake_of_the_spec(write: Any, tmp_path: Path, wrong: Any) -> None:
    import yaml

    path = write("job.yaml", yaml.safe_dump({"prompt": "a", "on_failure": wrong}))
    with pytest.raises(UsageError, match=r"on_failure: .*command or an address"):
        api.job(path, out=tmp_path / "run")


def test_hooks_change_no_picture_and_go_along_with_the_directory(run_job: Any, tmp_path: Path) -> None:
    run_job(JOB, tmp_path / "run")
    job = {**JOB, **hooks(tmp_path)}
    assert run_job(job, tmp_path / "run", hooks=True).made == 0
    spec = api.job(tmp_path / "run").spec
    assert {name: list(targets) for name, targets in spec.hooks.items()} == {
        name: [target] for name, target in hooks(tmp_path).items()
    }
