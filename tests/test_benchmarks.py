"""What `make bench` makes of the scripts' output; nothing is timed here."""

from __future__ import annotations

import json
import sys
from importlib import util
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def benchmarks(root: Path) -> Any:
    """benchmarks/run.py, which is no package's."""
    folder = str(root / "benchmarks")
    sys.path.insert(0, folder)
    try:
        spec = util.spec_from_file_location("benchmarks_run", root / "benchmarks" / "run.py")
        assert spec is not None and spec.loader is not None
        module = util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(folder)
    return module


def test_the_object_is_the_last_line_or_the_whole_output(benchmarks: Any) -> None:
    assert benchmarks.last_object('a bar 3/3\n{"results": []}\n') == {"results": []}
    assert benchmarks.last_object(json.dumps({"a": [1, 2]}, indent=2)) == {"a": [1, 2]}
    assert benchmarks.last_object("no object\n[1]\n") is None


def test_tables_are_renewed_and_prose_is_kept(benchmarks: Any) -> None:
    page = benchmarks.renewed("# Benchmarks\n\nProse.\n", "png", "| old |")
    page = page.replace("## png.py", "## PNG, by hand")
    page = benchmarks.renewed(page, "png", r"| new \1 |")
    assert "Prose." in page and "## PNG, by hand" in page and page.count("make bench") == 1
    assert r"| new \1 |" in page and "old" not in page


def test_targets_say_what_was_missed_and_what_was_not_measured(benchmarks: Any) -> None:
    results = [
        {"what": "a", "value": 1.5, "unit": "×", "target": "≥ 1.4", "reached": True},
        {"what": "b", "value": 0.9, "target": "≥ 1", "reached": False},
        {"what": "c", "value": None, "target": "≥ 2", "reached": None},
        {"what": "d", "value": 3.0, "target": None},
    ]
    lines = benchmarks.targets({"one": {"results": results}}).splitlines()[2:]
    assert lines == [
        "| a |  | 1.5 × | ≥ 1.4 | yes | `one.py` |",
        "| b |  | 0.9 | ≥ 1 | **no** | `one.py` |",
        "| c |  |  | ≥ 2 | not measured | `one.py` |",
    ]


@pytest.mark.parametrize(
    "found", [{"seconds": 2.0}, {"results": {"help": {"seconds": 2.0}}}, {"results": [{"seconds": 2.0, "each": [1]}]}]
)
def test_any_shape_of_results_makes_a_table(benchmarks: Any, found: dict[str, Any]) -> None:
    about = {"when": "2026-01-02T03:04:05Z", "machine": {"device": "cpu x", "cores": 2}, "versions": {"torch": "2.13"}}
    text = benchmarks.own({**found, **about})
    assert text.startswith("2026-01-02, cpu x, 2 cores, torch 2.13") and "seconds |" in text and "2 |" in text


def test_an_unknown_name_is_told(benchmarks: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert benchmarks.main(["pgn"]) == 2
    assert "no such benchmark: pgn" in capsys.readouterr().err
