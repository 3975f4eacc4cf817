"""Whether a run directory's own papers can be read: job.yaml, runs.jsonl and log.jsonl."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

from sdbatch.errors import SpecError
from sdbatch.spec import document
from sdbatch.store.directory import JOB, LOG, NEEDED, RUNS, RunDirectory
from sdbatch.store.findings import Finding

EVENT = {"time", "event"}
"""What every line of log.jsonl has."""


def find(directory: RunDirectory) -> Iterator[Finding]:
    """What is wrong with job.yaml, runs.jsonl and log.jsonl."""
    for name, needed in ((RUNS, NEEDED), (LOG, EVENT)):
        _, bad = split_lines(directory.store.read(name) or b"", needed)
        if bad:
            numbers = ", ".join(map(str, bad[:10])) + (", …" if len(bad) > 10 else "")
            yield Finding("line", name, f"cannot be read: line {numbers}")
    whole, _ = split_lines(directory.store.read(RUNS) or b"", NEEDED)
    last = json.loads(whole[-1]) if whole else {}
    wrong = _job_problem(directory, last)
    if wrong:
        spec = last.get("spec", "SPEC")
        yield Finding("job", JOB, f"{wrong}; `sdbatch run {spec} --out {directory.path}` writes it anew")


def split_lines(data: bytes, needed: set[str]) -> tuple[list[bytes], list[int]]:
    """The lines of a .jsonl file that hold an object with these keys, and the numbers of those that do not."""
    whole, bad = [], []
    for number, line in enumerate(data.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line.decode("utf-8"))
        except (ValueError, RecursionError):
            value = None
        if isinstance(value, dict) and value.keys() >= needed:
            whole.append(line)
        else:
            bad.append(number)
    return whole, bad


def _job_problem(directory: RunDirectory, last: dict[str, Any]) -> str | None:
    data = directory.store.read(JOB)
    if data is None:
        return "is missing"
    try:
        read = document.parse(data.decode("utf-8"), JOB)
    except ValueError:
        return "is not text"
    except SpecError:
        return "is not a job"
    if read.problems or not isinstance(read.value, dict):
        return "is not a job"
    if last.get("spec_sha256") not in (None, hashlib.sha256(data).hexdigest()):
        return f"is not as the run {last['run']} wrote it"
    return None
