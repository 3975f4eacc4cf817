"""What the benchmarks share: ways timed in turns, what they ran on, and one JSON object of results.

    seconds = timing.interleaved({"ours": ours, "loop": loop}, rounds=5)
    timing.report("loops", [timing.compared("64 rows to disk", seconds, "ours", "loop", target=1.4)])

Absolute times belong to the machine and to what else it does, so that results are ratios: ways take turns, and
a result is the median of the ratios of neighbours.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from typing import Any

Way = Callable[[], float | None]
"""Does the work once. Gives its own seconds, where it leaves something out; else the whole call is timed."""
_PACKAGES = ("torch", "diffusers", "transformers", "ray", "pyarrow", "numpy", "pillow")
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):  # torch's own default is what people have
    os.environ.pop(_name, None)


def clock() -> float:
    """Seconds of the wall; with BENCH_CLOCK=cpu this process's own, which others' work on the machine disturbs less.

    CPU seconds are the wall's only where one thread does the work: for the ways of `loops.py --only demo --threads 1`.
    """
    return time.process_time() if os.environ.get("BENCH_CLOCK") == "cpu" else time.perf_counter()


def interleaved(ways: Mapping[str, Way], rounds: int, warm: int = 1) -> dict[str, list[float]]:
    """Seconds of each way, in rounds: each way once a round, the order turned from round to round.

    Args:
        warm: rounds before those that count.
    """
    names = list(ways)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for number in range(warm + rounds):
        turn = number % len(names)
        for name in [*names[turn:], *names[:turn]]:
            began = time.perf_counter()
            own = ways[name]()
            taken = time.perf_counter() - began if own is None else own
            print(f"  round {number}: {name} {taken:.2f} s", file=sys.stderr, flush=True)
            if number >= warm:
                seconds[name].append(taken)
    return seconds


class Apart:
    """A way in a process of its own, kept between rounds, so that threads and patches of one touch no other.

    Args:
        prepare: a function of a module, called once in the process; gives the way.
    """

    def __init__(self, prepare: Callable[..., Callable[..., Any]], *arguments: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._here, there = context.Pipe()
        self._process = context.Process(target=_serve, args=(there, prepare, arguments), daemon=True)
        self._process.start()
        there.close()
        self._here.recv()

    def __call__(self, *arguments: Any) -> Any:
        """Have it done once there; what it gives."""
        self._here.send(arguments)
        found = self._here.recv()
        if isinstance(found, Exception):
            raise found
        return found

    def close(self) -> None:
        """End the process."""
        self._here.close()
        self._process.join(10)


def _serve(there: Any, prepare: Callable[..., Callable[..., Any]], arguments: Sequence[Any]) -> None:
    way = prepare(*arguments)
    there.send(None)
    while True:
        try:
            given = there.recv()
        except EOFError:
            return
        try:
            there.send(way(*given))
        except Exception as error:  # whatever a way raises is told where its answer is waited for
            there.send(RuntimeError(f"{type(error).__name__}: {error}"))


def median(seconds: Sequence[float]) -> float:
    """The median, to four digits."""
    return float(f"{statistics.median(seconds):.4g}")


def ratios(seconds: Mapping[str, Sequence[float]], ours: str, other: str) -> list[float]:
    """How many times as long as ours the other took, round by round."""
    return [theirs / mine for mine, theirs in zip(seconds[ours], seconds[other], strict=True)]


def compared(
    what: str, seconds: Mapping[str, Sequence[float]], ours: str, other: str, target: float | None, **more: Any
) -> dict[str, Any]:
    """A result: how many times as fast as the other ours is; at least `target` is asked for."""
    each = ratios(seconds, ours, other)
    return result(
        what,
        median(each),
        target,
        against=other,
        unit="×",
        least=float(f"{min(each):.4g}"),
        most=float(f"{max(each):.4g}"),
        rounds=len(each),
        seconds={name: median(taken) for name, taken in seconds.items()},
        **more,
    )


def result(
    what: str, value: float | None, target: float | None, *, most_allowed: bool = False, **more: Any
) -> dict[str, Any]:
    """A result against its target.

    Args:
        most_allowed: the target is the most, not the least, that will do.
    """
    reached = None
    if target is not None and value is not None:
        reached = value <= target if most_allowed else value >= target
    bound = None if target is None else f"{'≤' if most_allowed else '≥'} {target:g}"
    return {"what": what, "value": value, "target": bound, "reached": reached, **more}


def machine() -> dict[str, Any]:
    """What this ran on."""
    from sdbatch.render import device

    return {
        "device": device.describe("cpu").kind,
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "system": f"{platform.system()} {platform.release()}",
    }


def versions() -> dict[str, str]:
    """Versions of what was measured."""
    from sdbatch import __version__

    found = {"sdbatch": __version__, "python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def report(name: str, results: Sequence[Mapping[str, Any]], **more: Any) -> None:
    """Print the one JSON object that `benchmarks/run.py` reads: the last line of a script's output."""
    about = {
        "benchmark": name,
        **more,
        "clock": os.environ.get("BENCH_CLOCK", "wall"),
        "load": [round(load, 2) for load in os.getloadavg()],
    }
    print(json.dumps({**about, "results": list(results)}, ensure_ascii=False))


def options(about: str | None, rounds: int) -> argparse.ArgumentParser:
    """The options that every script has."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=rounds, help=f"rounds that count (default: {rounds})")
    return parser


def _cpu() -> str:
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
            return next((line.split(":")[1].strip() for line in file if line.startswith("model name")), "unknown")
    except OSError:
        return platform.processor() or "unknown"
