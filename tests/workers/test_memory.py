"""A worker that runs for long does not grow."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import json, sys
from pathlib import Path
import psutil
from sdbatch.workers.worker import Worker
from sdbatch.workers.task import Task
from sdbatch.sources.names import Sources
from sdbatch.spec import load
from sdbatch.spec.grid import Rows
from sdbatch.types import Lease, Output, Render

base = Path(sys.argv[1])
render = Render(8, 1, "float32", "cpu", "sdpa", False, False, "auto", "degrade")
job = {"mode": "txt2img", "steps": 1, "prompt": "a {color} star, no. {seed}",
       "grid": {"seed": {"range": [0, 1000]}, "color": ["red", "blue"]}}
rows = Rows(load.job_from_mapping(job, base), None, Sources(base))
worker = Worker(Task("run", base / "run", base, render, Output(), 0, {}))
grown, made = [], 0
for number in range(20):
    result = worker.run(Lease(number, tuple(rows.take(range(number * 100, number * 100 + 100)))))
    made += len(result.records)
    grown.append(psutil.Process().memory_info().rss)
print(json.dumps({"made": made, "rss": grown}))
"""


@pytest.mark.slow
def test_two_thousand_rows_grow_a_worker_by_less_than_a_twentieth(tmp_path: Path) -> None:
    """Every prompt is another, so that what is kept of texts counts too."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)], capture_output=True, text=True, timeout=1800, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["made"] == 2000
    after_200, last = found["rss"][1], max(found["rss"][2:])
    assert last < 1.05 * after_200, [round(one / 2**20) for one in found["rss"]]
