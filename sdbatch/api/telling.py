"""Tell others how a run ended: a command or an address that is given JSON."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from sdbatch import prepare
from sdbatch.api import running
from sdbatch.api.running import RunReport
from sdbatch.api.working import Listener, RunOptions
from sdbatch.errors import EXIT_ROWS_FAILED, BusyError, SdbatchError, UsageError
from sdbatch.sources import remote
from sdbatch.store.directory import now

COMMAND_SECONDS = 600.0
"""How long a command may take."""
ADDRESS_SECONDS, TRIES, WAIT_SECONDS = 10.0, 3, 1.0
"""How long an address may take to answer, how often it is tried, and how much longer is waited each time."""


def run(
    job: prepare.Job,
    options: RunOptions,
    listener: Listener,
    stopping: Callable[[], bool] = lambda: False,
    command: Sequence[str] = (),
) -> RunReport:
    """Make the rows of a job that are not made yet, and tell those whom the spec names.

    `on_finish` is told of every run that had something to make and came to its end; `on_failure` where rows failed, or
    where an error ended the run, unless another run held the directory. That one of them fails is said, and changes
    nothing else.

    Raises:
        UsageError: the spec names some, and `options.hooks` does not say whether to tell them.
        BusyError, StoreError, SpecError, ModelError: as `running.run`.
    """
    hooks = job.spec.hooks
    if hooks and options.hooks is None:
        raise UsageError(
            f"{job.origin}: {' and '.join(hooks)}: a spec may come from anywhere, so what it names is only told with "
            "--hooks; --no-hooks leaves it untold"
        )
    began = time.monotonic()
    shown = remote.url(job.directory.path) or str(job.directory.path.absolute())

    def tell(event: str, **what: Any) -> None:
        given = {"schema": 1, "event": event, "job": job.spec.name, "time": now(), "host": socket.gethostname()}
        given |= {"directory": shown, "seconds": round(time.monotonic() - began, 3)}
        text = json.dumps({**given, **what}, ensure_ascii=False)
        for target in hooks.get(event, ()) if options.hooks else ():
            outcome = told(target, text, event, str(job.directory.path))
            job.directory.log("hook", hook=event, target=target, outcome=outcome)
            listener.say(f"{event}: {outcome}: {target}")

    try:
        report = running.run(job, options, listener, stopping, command)
    except BusyError:
        raise
    except SdbatchError as error:
        tell("on_failure", exit_code=error.exit_code, error=str(error))
        raise
    if report.made or report.failed or report.left:
        what = {**asdict(report), "directory": shown, "exit_code": report.exit_code}
        tell("on_finish", error=None, **what)
        if report.exit_code == EXIT_ROWS_FAILED:
            tell("on_failure", error=None, **what)
    return report


def told(target: str, text: str, event: str, folder: str) -> str:
    """Hand JSON to a command of the shell or to an address; what came of it, in a few words."""
    if is_address(target):
        return _posted(target, text)
    return _called(target, text, event, folder)


def is_address(target: str) -> bool:
    """Whether it is told by HTTP."""
    return target.startswith(("http://", "https://"))


def _called(command: str, text: str, event: str, folder: str) -> str:
    """Run a command in the run directory; its own output goes to standard error, where people read."""
    where = folder if os.path.isdir(folder) else None
    try:
        process = subprocess.Popen(
            command,
            shell=True,  # a command line, as the user wrote it, whom --hooks says to trust
            cwd=where,
            stdin=subprocess.PIPE,
            stdout=sys.stderr.fileno() if _has_file(sys.stderr) else subprocess.DEVNULL,
            env={**os.environ, "SDBATCH_EVENT": event},
            start_new_session=True,
        )
    except OSError as error:
        return f"could not be started: {error}"
    try:
        process.communicate(text.encode(), COMMAND_SECONDS)
    except subprocess.TimeoutExpired:
        with suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return f"ended after {COMMAND_SECONDS:g} s"
    return f"exit code {process.returncode}"


def _posted(address: str, text: str) -> str:
    outcome = ""
    for attempt in range(TRIES):
        if attempt:
            time.sleep(attempt * WAIT_SECONDS)
        request = urllib.request.Request(address, text.encode(), {"Content-Type": "application/json"}, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=ADDRESS_SECONDS) as answer:
                return f"HTTP {answer.status}"
        except urllib.error.HTTPError as error:
            outcome = f"HTTP {error.code}"
            if error.code < 500:
                break
        except (OSError, ValueError) as error:
            outcome = f"not reached: {getattr(error, 'reason', error)}"
    return outcome


def _has_file(stream: Any) -> bool:
    try:
        stream.fileno()
    except (OSError, AttributeError, ValueError):
        return False
    return True
