"""What `--help` shows."""

from __future__ import annotations

from typing import Any

import pytest


def test_no_command_is_cut_and_a_letter_is_enough(sdbatch: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    whole = sdbatch("--help")
    commands = whole.stdout.partition("Commands:")[2].strip().splitlines()
    assert len(commands) >= 19 and [line for line in commands if line.endswith("...")] == []
    assert sdbatch("-h").stdout == whole.stdout and sdbatch("plan", "-h").returncode == 0
