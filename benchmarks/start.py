"""How long a command takes to start: `--help`, `plan` of a 1,000-row job, and `run` of a job that is done.

python benchmarks/start.py [--rounds 15]

Each is a process of its own, in turns, medians of the rounds after one that warms the disk's cache.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import timing

PLANNED = """
name: start
model: demo
prompt: "a {color} star"
grid: {color: [red, blue, green, white], seed: {range: [0, 250]}}
"""
DONE = """
name: done
model: demo
prompt: a red star
steps: 1
grid: {seed: {range: [0, 16]}}
"""
COMMAND = [sys.executable, "-c", "from sdbatch.cli.main import run; run()"]
MOST = {"sdbatch --help": 0.25, "sdbatch plan of 1,000 rows": 0.6, "sdbatch run of a job that is done": 1.0}
"""Seconds."""


def called(command: list[str]) -> float:
    """Seconds from the process's start to its end."""
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> None:
    """Measure, and print one JSON object."""
    rounds = timing.options(__doc__, rounds=15).parse_args().rounds
    with tempfile.TemporaryDirectory(prefix="sdbatch-bench-") as name:
        home = Path(name)
        for spec, text in (("planned.yaml", PLANNED), ("done.yaml", DONE)):
            (home / spec).write_text(text, encoding="utf-8")
        again = [*COMMAND, "run", str(home / "done.yaml"), "--out", str(home / "done")]
        called(again)
        plan = [*COMMAND, "plan", str(home / "planned.yaml"), "--out", str(home / "planned")]
        ways = dict(zip(MOST, ([*COMMAND, "--help"], plan, again), strict=True))
        ways["bare Python"] = [sys.executable, "-c", "pass"]
        seconds = timing.interleaved({what: lambda way=way: called(way) for what, way in ways.items()}, rounds)
    results = [
        timing.result(
            what, timing.median(taken), MOST.get(what), most_allowed=True, unit="s", least=round(min(taken), 3)
        )
        for what, taken in seconds.items()
    ]
    timing.report("start", results, rounds=rounds)


if __name__ == "__main__":
    main()
