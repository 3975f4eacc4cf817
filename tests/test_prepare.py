"""What is said of a job as a whole, before anything is made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sdbatch import api
from sdbatch.errors import SpecError
from sdbatch.store.manifest import Done

Write = Callable[[str, str], Path]
SMALL = "prompt: a\nwidth: 64\nheight: 64\noutput: {watermark: made here}\n"


def test_a_picture_too_small_for_its_watermark_is_said_with_the_line(write: Write, cwd: Path) -> None:
    with pytest.raises(SpecError, match=r"a\.yaml:4: output\.watermark: 64 x 64 is too small for a watermark"):
        api.job(write("a.yaml", SMALL)).plan(Done())
    api.job(write("b.yaml", SMALL.replace("64", "256"))).plan(Done())
    with pytest.raises(SpecError, match="bytes long"):
        api.job(write("c.yaml", SMALL.replace("64", "256").replace("made here", "x" * 500))).plan(Done())
