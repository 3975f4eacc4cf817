"""Many rows hashed at once, here and in processes beside: the ids are those of the plain definition."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdbatch.spec import hashers, hashing, ids, load
from sdbatch.spec.grid import Rows
from sdbatch.spec.hashing import Work

HASH = "0" * 64
DEFAULTS = {"seed": 0, "steps": 20, "prompt": "", "guidance_scale": 4.0, "width": 64}


class Names:
    """Every name is one model of 64 x 64."""

    def model(self, name: str, revision: str | None) -> tuple[str, tuple[int, int], str]:
        return HASH, (64, 64), "sd"

    def content(self, parameter: str, value: Any) -> Any:
        return value

    def picture_size(self, value: Any) -> tuple[int, int]:
        return 0, 0


def rows(job: dict[str, Any]) -> Rows:
    return Rows(load.job_from_mapping(job, Path("/nowhere")), None, Names())


def outline(made: Rows, lines: bool = True) -> pa.Table:
    return pa.Table.from_batches(made.outline(lines))


def plainly(made: Rows) -> tuple[list[str], list[str]]:
    """Ids and row keys, one row at a time."""
    taken = made.take(range(len(made)))
    found = [
        ids.picture_id({"model": HASH, **{n: row.params[n] for n, d in DEFAULTS.items() if row.params[n] != d}})
        for row in taken
    ]
    return found, [line_key(one, row.fields) for one, row in zip(found, taken, strict=True)]


def line_key(identity: str, fields: Any) -> str:
    text = json.dumps([identity, "main", fields], ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=10).hexdigest()


def hexed(column: pa.ChunkedArray) -> list[str]:
    return [value.hex() for value in column.to_pylist()]


@st.composite
def ranges(draw: st.DrawFn) -> list[int]:
    low, count, step = draw(st.integers(0, 10**6)), draw(st.integers(1, 700)), draw(st.sampled_from([1, 3, -1, 100]))
    start = low if step > 0 else low + count
    return [start, start + count * step, step]


@settings(deadline=None, max_examples=40)
@given(
    st.one_of(st.just([0, 700, 1]), st.just([99, 350, 1]), ranges()),
    st.lists(st.sampled_from(["a", "50% {seed}", "{seed:04d}%d"]), min_size=1, max_size=2, unique=True),
    st.sampled_from([{}, {"width": [64, 72]}, {"steps": [20, 21]}, {"steps": {"range": [19, 22]}}]),
    st.booleans(),
)
def test_packed_numbers_have_the_ids_of_the_definition(span: Any, prompts: Any, more: Any, first: bool) -> None:
    axes = {"prompt": prompts, "seed": {"range": span}, **more}
    made = rows({"grid": dict(reversed(axes.items())) if first else axes})
    found = outline(made)
    assert (hexed(found["id"]), hexed(found["row"])) == plainly(made)


def test_row_keys_hold_free_columns_packed_ones_too() -> None:
    made = rows({"prompt": "{a} {b}", "grid": {"b": ["x", "é"], "a": {"range": [-300, 300]}}})
    found = outline(made)
    assert (hexed(found["id"]), hexed(found["row"])) == plainly(made)
    assert made.take([0])[0].fields == {"a": "-300", "b": "x"}


def test_numbers_too_large_to_pack_are_rows_all_the_same() -> None:
    made = rows({"prompt": "{a}", "grid": {"a": {"range": [2**63 - 3, 2**63 - 1]}}})
    assert [row.params["prompt"] for row in made.take([0, 1])] == [str(2**63 - 3), str(2**63 - 2)]


@pytest.fixture
def beside(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    """Two processes for however few rows; those that were started."""
    started: list[subprocess.Popen[bytes]] = []
    whole = subprocess.Popen

    def popen(*given: Any, **named: Any) -> subprocess.Popen[bytes]:
        started.append(whole(*given, **named))
        return started[-1]

    monkeypatch.setattr(hashers.subprocess, "Popen", popen)
    monkeypatch.setattr(hashers, "fitting", lambda rows: 2)
    monkeypatch.setattr("sdbatch.spec.grid.BATCH", 100)
    return started


JOB = {"prompt": "{a}", "grid": {"a": ["x", "y"], "mode": ["txt2img"], "seed": {"range": [0, 1000]}}}


@pytest.mark.parametrize("lines", [False, True])
def test_processes_give_the_same(lines: bool, beside: list[subprocess.Popen[bytes]]) -> None:
    found = outline(rows(JOB), lines)
    assert len(beside) == 2 and all(process.poll() is not None for process in beside)
    assert hexed(found["id"]) == plainly(rows(JOB))[0]
    assert not lines or hexed(found["row"]) == plainly(rows(JOB))[1]
    assert found["index"].to_pylist() == list(range(2000))


def test_a_process_that_dies_is_done_without(beside: list[subprocess.Popen[bytes]]) -> None:
    ids_: list[str] = []
    for batch in rows(JOB).outline(False):
        ids_ += [value.hex() for value in batch.column("id").to_pylist()]
        beside[-1].kill()
    assert ids_ == plainly(rows(JOB))[0] and len(beside) > 2


def test_without_a_python_to_start_it_is_done_here(
    beside: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("", "/nowhere/python3", "/bin/sh"):
        monkeypatch.setattr(sys, "executable", name)
        assert hexed(outline(rows(JOB))["id"]) == plainly(rows(JOB))[0]
    assert beside == []


def test_a_wrong_row_ends_the_processes(beside: list[subprocess.Popen[bytes]]) -> None:
    work = Work(b"head", ([b""], None), ([b"tail"], None), None, 3)

    def works() -> Iterator[tuple[int, Work]]:
        yield from ((at, work) for at in range(7))
        raise ValueError("a row is wrong")

    found = []
    with pytest.raises(ValueError, match="wrong"), hashers.Hashers(2) as processes:
        found += list(processes.ordered(works()))
    assert beside and all(process.poll() is not None for process in beside)
    with hashers.Hashers(2) as processes:
        assert [item for item, _ in processes.ordered((at, work) for at in range(20))] == list(range(20))


def test_few_rows_or_one_core_start_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda who: set(range(64)))
    assert (hashers.fitting(hashers.MANY - 1), hashers.fitting(hashers.MANY)) == (0, hashers.MOST)
    monkeypatch.setattr("os.sched_getaffinity", lambda who: {3})
    assert hashers.fitting(10**7) == 0
    monkeypatch.delattr("os.sched_getaffinity")
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    assert hashers.fitting(10**7) == 4
    monkeypatch.setattr(sys, "executable", "/usr/bin/uwsgi")
    assert hashers.fitting(10**7) == 0


def test_the_process_imports_nothing_but_the_standard_library(root: Path) -> None:
    script = f"import runpy, sys; runpy.run_path({hashing.__file__!r}); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", script], capture_output=True, text=True, check=True)
    assert not {"numpy", "pyarrow", "sdbatch", "subprocess"} & set(done.stdout.split())
