"""`sdbatch bench` as a user meets it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from sdbatch import api
from sdbatch.cli import bench
from sdbatch.errors import UsageError
from sdbatch.render.bench.bench import Measured
from sdbatch.render.device import Device
from sdbatch.types import Render

Command = Callable[..., subprocess.CompletedProcess[str]]
TINY = ("bench", "--model-shape", "demo", "--steps", 1, "--rounds", 1, "--threads", 1)


def test_one_object_on_standard_output(sdbatch: Command, tmp_path: Path) -> None:
    done = sdbatch(*TINY, "--batch", "1,2", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["schema"] == 1 and found["exact"] is True
    assert [one["batch"] for one in found["batches"]] == [1, 2]
    assert done.stderr.splitlines()[-1] == "demo: batch 2"
    assert not list(tmp_path.iterdir())


def measured(size: int, differences: dict[str, dict[str, float]]) -> Measured:
    ms = {"text": 5.0, "step": 50.0, "decode": 20.0, "to_host": 1.0, "whole": 126.0}
    return Measured(size, 8.0, 4.0, (1.5, 2.0, 2.5), 20.0, ms, 3 << 30, differences, 1)


def test_a_table_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    render = Render(0, 2, "float16", "cuda", "sdpa", True, False, "auto", "degrade")
    batches = {
        1: measured(1, {"alone, again": {"levels": 0, "decoded": 0.0}}),
        4: measured(4, {"first": {"levels": 0, "decoded": 0.0}, "last": {"levels": 2, "decoded": 0.0123}}),
        8: None,
    }
    operations = {"text": 10**10, "step": 10**12, "decode": 2 * 10**12}
    bench._show(
        api.BenchReport(
            options=api.BenchOptions("sd15", steps=2),
            render=render,
            hardware=Device("cuda", "cuda X", 80, 1),
            size=(512, 512),
            load_seconds=1.0,
            parameters={"unet": 859_520_964},
            operations=operations,
            peaks={"bfloat16": 5e14, "float16": 6e14},
            batches=batches,
        )
    )
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "sd15 (860 M parameters), 512 × 512, 2 steps of ddim, guided"
    assert lines[1] == "cuda X, float16, sdpa, channels_last, compiled"
    assert lines[2] == "work: 4.01 TFLOP a picture; matrix product: bfloat16 500, float16 600 TFLOP/s"
    names, one, four, eight = (line.split() for line in lines[-5:-1])
    assert names[:5] == ["batch", "ours", "naive", "ratio", "it/s"]
    assert one == ["1", "8", "4", "2", "20", "5", "50", "20", "1", "3.0", "6.4%", "yes"]
    assert four[-1] == "NO" and eight == ["8", "does", "not", "fit"]
    assert lines[-1] == "batch 4, last: 2 of 255 levels apart, 0.0123 before rounding"


def test_a_wrong_shape_is_told_at_once(sdbatch: Command) -> None:
    done = sdbatch("bench", "--model-shape", "sd16")
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr == "sdbatch: model shape 'sd16': there are sd15, sd21, sdxl, demo\n"


def test_batch_shapes() -> None:
    assert bench._numbers(None) == () and bench._numbers("1,4, 8,4") == (1, 4, 8)
    for wrong in ("", "1,,2", "x", "-1", "1.5"):
        with pytest.raises(UsageError, match="whole numbers with commas"):
            bench._numbers(wrong)
