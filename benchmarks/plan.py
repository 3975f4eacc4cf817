"""Planning many rows, against a loop over `itertools.product` with json and blake2b a row; and a finished run again.

    python benchmarks/plan.py --rounds 3 --rows 1000000 --large 10000000

Each is a process of its own, so that its peak of memory is its own. The ratio is the median over interleaved pairs.
The finished run's manifest is made from the plan's rows, none of them rendered, `--part` lines a part.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

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


def finish(home: Path, rows: int, part: int) -> None:
    """A manifest as a run of all rows leaves it."""
    import pyarrow as pa

    from sdbatch import prepare
    from sdbatch.store.manifest import FOLDER, schema
    from sdbatch.store.parts import part_bytes

    made = prepare.job(job(home, rows), out=home / "run")
    columns = schema(made.rows.fields)
    folder = home / "run" / FOLDER
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
    """Seconds within the process, its imports included, and its peak of memory in MB."""
    command = [sys.executable, __file__, "--child", what, "--home", str(home), "--rows", str(rows)]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert isinstance(found, dict)
    return found


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """All of it."""
    import numpy
    import pyarrow

    found: dict[str, Any] = {"rounds": given.rounds, "rows": given.rows}
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        pairs = [{what: child(what, home, given.rows) for what in ("naive", "ours")} for _ in range(given.rounds)]
        found["ratio"] = statistics.median(pair["naive"]["seconds"] / pair["ours"]["seconds"] for pair in pairs)
        found["seconds"] = {w: statistics.median(p[w]["seconds"] for p in pairs) for w in ("naive", "ours")}
        if given.large:
            found["large"] = {"rows": given.large, **child("ours", home, given.large)}
        job(home, given.rows)
        finish(home, given.rows, given.part)
        found["finished"] = {"part": given.part, **child("again", home, given.rows)}
    versions = {"python": sys.version.split()[0], "numpy": numpy.__version__, "pyarrow": pyarrow.__version__}
    return {**found, "versions": versions}


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--large", type=int, default=10_000_000, help="0 leaves it out")
    parser.add_argument("--part", type=int, default=10_000, help="lines a manifest part")
    parser.add_argument("--child", choices=("naive", "ours", "again"), help=argparse.SUPPRESS)
    parser.add_argument("--home", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child is None:
        print(json.dumps(measure(given)))
        return
    start = time.perf_counter()
    {"naive": naive, "ours": ours, "again": again}[given.child](given.home, given.rows)
    spent = time.perf_counter() - start
    print(json.dumps({"seconds": spent, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))


if __name__ == "__main__":
    main()
