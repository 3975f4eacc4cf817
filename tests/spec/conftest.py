"""What the tests of specs share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    """Write a spec to jobs/job.yaml, byte for byte: `write(text)` gives its path."""

    def put(text: str) -> Path:
        path = tmp_path / "jobs" / "job.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(text.encode())
        return path

    return put
