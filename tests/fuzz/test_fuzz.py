"""The fuzz targets: on their seeds and on what broke something once, and, slowly, under atheris."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

HERE = Path(__file__).resolve().parent
NAMES = ("spec", "table", "prompt", "metadata", "picture", "wildcard")
BROKE = {"prompt": [b"{seed:d60}"]}
"""What ended a fuzzer once."""


@pytest.fixture(scope="module")
def targets() -> ModuleType:
    found = importlib.util.spec_from_file_location("fuzz_targets", HERE / "targets.py")
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", NAMES)
def test_seeds_and_what_broke_once(targets: ModuleType, name: str) -> None:
    assert set(targets.TARGETS) == set(NAMES)
    for data in (b"", b"\0", *targets.seeds(name), *BROKE.get(name, [])):
        for cut in (len(data), len(data) // 2):
            targets.TARGETS[name](data[:cut])


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_ten_seconds_of_each(tmp_path: Path, name: str) -> None:
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("atheris is not installed: pip install 'sdbatch[fuzz]'")
    bounds = ["-seed=1", "-runs=20000", "-max_total_time=10", "-timeout=20", "-rss_limit_mb=4096"]
    command = [sys.executable, str(HERE / "fuzz.py"), name, str(tmp_path / "corpus"), *bounds]
    done = subprocess.run(
        [*command, f"-artifact_prefix={tmp_path}/"], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert "Done" in done.stderr
