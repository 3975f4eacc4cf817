"""Training that is killed behind a checkpoint."""

from __future__ import annotations

import pytest

from sdbatch.demo import train


class Interrupted(Exception):
    """Stands for a kill."""


def stop_after(monkeypatch: pytest.MonkeyPatch, stage: str, step: int) -> None:
    """Save at every step, and die right behind the save of this one."""
    save = train.Loop._save

    def save_and_stop(self: train.Loop) -> None:
        save(self)
        if (self.name, self.step) == (stage, step):
            raise Interrupted

    monkeypatch.setattr(train, "SAVE_SECONDS", -1.0)
    monkeypatch.setattr(train.Loop, "_save", save_and_stop)
