"""Planning many rows, against a loop over `itertools.product` with json and blake2b a row; and a finished run again.

    python benchmarks/plan.py [--rounds 3] [--rows 10000000] [--huge 100000000]

Each is a process of its own, so that its peak of memory is its own; the peak of the processes that it starts for
hashing, some 30 MB each, is not in it. Seconds are from its start to its end, imports included; `cpu` are those of
the processor, of all its processes: their ratio says what two whole cores would make of it where the machine is busy.
With `--huge` so many rows are planned twice, the second time with half of them done, whose lines come in a stream as
the parts of a manifest do. A finished run's manifest is made from the plan's rows, none of them rendered.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import timing

AXES: dict[str, Any] = {"color": ["red", "blue", "green", "white", "pink"], "shape": ["star", "heart"]}
GUIDANCE = [1.0, 2.0, 4.0, 7.5, 9.0]


def job(home: Path, rows: int) -> Path:
    """A spec of so many rows."""
    seeds = rows // 50
    grid = {**AXES, "guidance_scale": GUIDANCE, "seed": {"range": [0, seeds]}}
    path = home / "many.yaml"
    path.write_text(json.dumps({"name": "many", "model": "demo", "prompt": "a {color} {shape}", "grid": grid}))
    return path


def naive(home: Path, rows: int) -> None:
    """The loop that people write; it keeps nothing but a count."""
    count = 0
    for color, shape, guidance, seed in itertools.product(*AXES.values(), GUIDANCE, range(rows // 50)):
        row = {"model": "demo", "prompt": f"a {color} {shape}", "guidance_scale": guidance, "seed": seed}
        hashlib.blake2b(json.dumps(row, sort_keys=True).encode(), digest_size=10).hexdigest()
        count += 1
    assert count == rows


def ours(home: Path, rows: int) -> None:
    """The plan, ids included."""
    from sdbatch import prepare
    from sdbatch.store.manifest import Done

    assert prepare.job(job(home, rows), out=home / "none").plan(Done()).left == rows


def half(home: Path, rows: int) -> None:
    """The plan where half of the rows are done: each row and each line with its row key."""
    from sdbatch import prepare
    from sdbatch.spec.digests import Digests
    from sdbatch.store.manifest import Done

    done = prepare.job(job(home, rows // 2), out=home / "none").rows

    def lines() -> Iterator[tuple[Digests, Digests]]:
        for batch in done.outline(True):
            yield Digests.of(batch.column("id")), Digests.of(batch.column("row"))

    made = prepare.job(job(home, rows), out=home / "none").plan(Done(rows // 2, True, lines))
    assert (made.done, made.left, made.retired) == (rows // 2, rows - rows // 2, 0)


def finish(home: Path, rows: int, part: int) -> None:
    """A manifest as a run of all rows leaves it."""
    import pyarrow as pa

    from sdbatch import prepare
    from sdbatch.store.manifest import FOLDER, schema
    from sdbatch.store.parts import part_bytes

    made = prepare.job(job(home, rows), out=home / "run")
    columns = schema(made.rows.fields)
    folder = home / "run" / FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    table = pa.Table.from_batches([batch.select(["row", "id", "path"]) for batch in made.rows.batches()])
    for number, start in enumerate(range(0, rows, part)):
        lines = table.slice(start, part)
        have = [
            lines[name] if name in lines.column_names else pa.nulls(len(lines), columns.field(name).type)
            for name in columns.names
        ]
        data = part_bytes(pa.Table.from_arrays(have, schema=columns))
        (folder / f"made-{number + 1:06d}.parquet").write_bytes(data)


def again(home: Path, rows: int) -> None:
    """A run of what is finished."""
    from sdbatch import api

    class Silent:
        def begin(self, *given: Any) -> None: ...
        def rows(self, *given: Any) -> None: ...
        def result(self, *given: Any) -> None: ...
        def say(self, *given: Any) -> None: ...

    report = api.run(api.job(home / "many.yaml", out=home / "run"), api.RunOptions(), Silent())
    assert (report.done, report.made, report.left) == (rows, 0, 0), report
    assert not {"torch", "ray"} & sys.modules.keys()


def child(what: str, home: Path, rows: int) -> dict[str, float]:
    """Seconds of a process of its own, by the wall and by the processor, and its peak of memory in MB."""
    print(f"  {what} of {rows} rows", file=sys.stderr, flush=True)
    command = [sys.executable, __file__, "--child", what, "--home", str(home), "--of", str(rows)]
    began = time.perf_counter()
    ended = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found = json.loads(ended.stdout)
    return {"seconds": round(time.perf_counter() - began, 3), **found}


def measure(given: argparse.Namespace) -> None:
    """All of it, as one JSON object."""
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        pairs = [{what: child(what, home, given.rows) for what in ("naive", "ours")} for _ in range(given.rounds)]
        seconds, cpu = ({way: [pair[way][unit] for pair in pairs] for way in pairs[0]} for unit in ("seconds", "cpu"))
        ratio = timing.median(timing.ratios(cpu, "ours", "naive"))
        peak = max(pair["ours"]["peak_mb"] for pair in pairs)
        results = [
            timing.compared(f"plan of {given.rows:,} rows", seconds, "ours", "naive", 10, cpu_ratio=ratio),
            timing.result(f"peak of a plan of {given.rows:,} rows", peak, 400, most_allowed=True, unit="MB"),
        ]
        for what in ("ours", "half") if given.huge else ():
            found = child(what, home, given.huge)
            about = f"peak of a plan of {given.huge:,} rows" + (", half of them done" if what == "half" else "")
            results.append(timing.result(about, found.pop("peak_mb"), 1000, most_allowed=True, unit="MB", **found))
        job(home, given.finished)
        for part in given.part:
            finish(home, given.finished, part)
            found = child("again", home, given.finished)
            about = f"finished run of {given.finished:,} rows again, {part:,} lines a part"
            target = 3 if part == given.part[0] else None
            results.append(timing.result(about, found.pop("seconds"), target, most_allowed=True, unit="s", **found))
            results.append(timing.result(f"{about}: peak", found["peak_mb"], 500, most_allowed=True, unit="MB"))
    timing.report("plan", results)


def main() -> None:
    """Measure, or do what a child is to do."""
    parser = timing.options(__doc__, 3)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--huge", type=int, default=100_000_000, help="so many rows too, once; 0 leaves it out")
    parser.add_argument("--finished", type=int, default=1_000_000, help="rows of the finished run")
    parser.add_argument("--part", type=int, nargs="+", default=[10_000, 125], help="lines a manifest part")
    for name, kind in (("--child", str), ("--home", Path), ("--of", int)):
        parser.add_argument(name, type=kind, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child is None:
        measure(given)
        return
    {"naive": naive, "ours": ours, "half": half, "again": again}[given.child](given.home, given.of)
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cpu = sum(one.ru_utime + one.ru_stime for one in used)
    print(json.dumps({"cpu": round(cpu, 3), "peak_mb": round(used[0].ru_maxrss / 1024)}))


if __name__ == "__main__":
    main()
