"""Work, clocks and placements, each by what can be known without a clock."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from sdbatch.render.bench import clocks, exact, weights, work
from sdbatch.sources import shapes

DEMO = shapes.model("demo")


def test_work_is_what_a_real_run_does() -> None:
    parts = weights.components(DEMO, torch.float32, "cpu")
    unet, vae = parts["unet"], parts["vae"]
    side = 64 // 2 ** (len(vae.config.block_out_channels) - 1)
    text = torch.randn((2, 77, unet.config.cross_attention_dim))
    calls = {
        "text": lambda: parts["text_encoder"](torch.zeros((1, 77), dtype=torch.long)),
        "step": lambda: unet(torch.randn((2, 4, side, side)), torch.tensor(5), encoder_hidden_states=text),
        "decode": lambda: vae.decode(torch.randn((1, 4, side, side))),
    }
    counted = work.counted(DEMO, 64, 64)
    for name, call in calls.items():
        # By matrix products: the fused kernels of some CPUs are not among those that torch counts.
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            call()
        assert counted[name] == counter.get_total_flops() > 10**6


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [("sd15", 1.5e12, 1.7e12), pytest.param("sdxl", 12e12, 15e12, marks=pytest.mark.slow)],
)
def test_work_of_full_size_models(name: str, least: float, most: float) -> None:
    # Published: 0.4 and 3 million million multiplications and additions a call, of two operations each, by two halves.
    model = shapes.model(name)
    assert least < work.counted(model, *model.size)["step"] < most


@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_a_row_stands_at_every_kind_of_place(size: int) -> None:
    rows: list[Any] = [f"row {number}" for number in range(2 * size)]
    found = list(exact.placements(rows, size))
    assert [name for name, _, _ in found][:2] == ["alone", "alone, again"]
    for _, batch, at in found:
        assert batch[at] == "row 0" and len(set(batch)) == len(batch) <= size
    if size > 2:
        places = {(at, len(batch)) for _, batch, at in found}
        assert {(0, 1), (0, size), (size - 1, size), (size // 2, size), (1, 2)} <= places
        neighbours = {name: set(batch) - {"row 0"} for name, batch, _ in found}
        assert not neighbours["first"] & neighbours["other neighbours"]


@pytest.mark.parametrize("levels", [0, 1])
def test_the_last_bit_is_seen(levels: int) -> None:
    def draw(batch: Sequence[Any]) -> tuple[list[Any], torch.Tensor]:
        """Pictures that are otherwise in the last place: in a pixel, or only before rounding."""
        pixels = [np.full((8, 8, 3), 7, np.uint8) for _ in batch]
        decoded = torch.zeros((4, 3, 8, 8))
        decoded[3] = 1e-6
        if len(batch) == 4:
            pixels[3][0, 0, 0] += levels
        return pixels, decoded

    found = exact.compare(list(range(8)), 4, draw)  # type: ignore[arg-type]  # any rows will do
    assert found["last"]["levels"] == levels and found["last"]["decoded"] == pytest.approx(1e-6)
    assert found["first"] == found["padded"] == {"levels": 0, "decoded": 0.0}
    assert not exact.same(found)
    assert exact.same({"first": found["first"]})


def test_matrix_peak_is_work_by_time(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(range(10_000))
    monkeypatch.setattr(clocks, "SIDES", {"cpu": 16})
    monkeypatch.setattr(clocks, "now", lambda device: float(next(ticks)))
    monkeypatch.setattr(clocks, "SECONDS", 2.0 * clocks.SMALLER**3)
    assert clocks.matrix_peak("cpu", torch.bfloat16) == 2 * 16**3
    monkeypatch.setattr(clocks, "SECONDS", 0.5 * clocks.SMALLER**3)
    assert clocks.matrix_peak("cpu", torch.bfloat16) == 2 * 2**3, "so slow that the smaller ones tell"


def test_the_peak_is_that_since_it_was_forgotten() -> None:
    size = 1 << 30  # much more than what earlier tests may give back meanwhile
    gc.collect()
    clocks.forget_peak("cpu")
    before = clocks.peak("cpu")
    np.ones(size, np.uint8)
    grown = clocks.peak("cpu")
    assert grown >= before + size // 2
    clocks.forget_peak("cpu")
    assert clocks.peak("cpu") <= grown
