"""How long a command takes to start: `sdbatch --help`, and `sdbatch plan` of a 1,000-row job.

    python benchmarks/start.py --rounds 15

Each is a process of its own, in turns, medians of the rounds after one that warms the disk's cache.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

JOB = """
name: start
model: demo
prompt: "a {color} star"
grid: {color: [red, blue, green, white], seed: {range: [0, 250]}}
"""
COMMAND = [sys.executable, "-c", "from sdbatch.cli.main import run; run()"]


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as home:
        job = Path(home) / "start.yaml"
        job.write_text(JOB, encoding="utf-8")
        ways = {
            "python": [sys.executable, "-c", "pass"],
            "help": [*COMMAND, "--help"],
            "plan": [*COMMAND, "plan", str(job), "--out", f"{home}/run"],
        }
        times: dict[str, list[float]] = {name: [] for name in ways}
        for turn in range(rounds + 1):
            for name, command in ways.items():
                start = time.perf_counter()
                subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
                if turn:
                    times[name].append(time.perf_counter() - start)
    found = {name: {"median": statistics.median(taken), "least": min(taken)} for name, taken in times.items()}
    print(json.dumps({"rounds": rounds, "python": sys.version.split()[0], "seconds": found}))


if __name__ == "__main__":
    main()
