"""What `bench` measures, on the tiny shape: that each number is there and of the right kind, not how large it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from sdbatch import api
from sdbatch.errors import PictureError, SpecError, UsageError
from sdbatch.render import noise
from sdbatch.render.bench import clocks
from sdbatch.render.renderer import Renderer
from sdbatch.sources import shapes

RENDER = {"threads": 1, "device": "cpu", "dtype": "float32"}
SMALL = api.BenchOptions("demo", batches=(1, 3), steps=2, render=RENDER, rounds=2)
Patch = pytest.MonkeyPatch


@pytest.fixture(autouse=True)
def _quick(monkeypatch: Patch) -> None:
    """A small matrix: how fast it is multiplied is of no interest here."""
    monkeypatch.setattr(clocks, "SIDES", {"cpu": 64})
    monkeypatch.setattr(clocks, "SECONDS", 0.0)


@pytest.fixture(scope="module")
def report() -> Iterator[tuple[api.BenchReport, list[str]]]:
    """The small measurement, and what it said meanwhile."""
    said: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clocks, "SIDES", {"cpu": 64})
        yield api.bench(SMALL, said.append), said


def test_every_number_is_there(report: tuple[api.BenchReport, list[str]]) -> None:
    found = report[0].as_json()
    about = {"schema": 1, "model_shape": "demo", "width": 64, "height": 64, "steps": 2, "rounds": 2, "exact": True}
    about |= {"dtype": "float32", "threads": 1, "compile": False, "memory_format": "contiguous"}
    assert about.items() <= found.items()
    assert set(found["parameters"]) == {"text_encoder", "unet", "vae"}
    work = found["operations"]
    assert work["picture"] == work["text"] + 2 * work["step"] + work["decode"]
    assert set(found["matrix_peak"]) == {"bfloat16", "float32"}
    assert [one["batch"] for one in found["batches"]] == [1, 3]
    for one in found["batches"]:
        assert one["fits"] and one["exact"] and one["peak_bytes"] > 10**7
        assert set(one["ms"]) == {"text", "step", "decode", "to_host", "whole"}
        assert min(one["ms"].values()) > 0
        stages = one["ms"]["text"] + 2 * one["ms"]["step"] + one["ms"]["decode"] + one["ms"]["to_host"]
        assert stages < 2 * one["ms"]["whole"]  # of medians, which need not add up
        assert one["ratio_least"] <= one["ratio"] <= one["ratio_most"]
        assert one["naive_levels"] <= 1  # both make the same picture, at two batch shapes
        share = one["pictures_per_second"] * work["picture"] / found["matrix_peak"]["float32"]
        assert one["share_of_peak"]["float32"] == pytest.approx(share, rel=0.01)
    assert set(found["batches"][0]["differences"]) == {"alone, again"}
    assert {"first", "last", "padded", "in the middle", "other neighbours"} <= set(found["batches"][1]["differences"])


def test_it_says_what_it_does(report: tuple[api.BenchReport, list[str]]) -> None:
    assert report[1][-2:] == ["demo: batch 1", "demo: batch 3"] and report[0].exit_code == 0


def unpadded(patch: Patch) -> None:
    """Batches are as large as they have rows."""
    batch = Renderer._batch
    patch.setattr(Renderer, "_batch", lambda self, context, rows, size, chunks: batch(self, context, rows, 1, chunks))


def one_generator(patch: Patch) -> None:
    """A batch draws from the generator of its first picture."""
    given = noise.generators
    patch.setattr(noise, "generators", lambda seeds: given(seeds[:1]) * len(seeds))


def global_noise(patch: Patch) -> None:
    """Noise is drawn from torch's own generator."""
    patch.setattr(noise, "draw", lambda draws, shape: torch.randn((len(draws), *shape)))


@pytest.mark.parametrize("mistake", [unpadded, one_generator, global_noise])
def test_a_place_that_changes_bits_is_seen(mistake: Callable[[Patch], None], monkeypatch: Patch) -> None:
    mistake(monkeypatch)
    report = api.bench(replace(SMALL, batches=(3,), rounds=1, steps=1))
    found = report.as_json()
    assert report.exit_code == 1 and not found["exact"] and not found["batches"][0]["exact"]
    assert any(apart["decoded"] > 0 for apart in found["batches"][0]["differences"].values())


def test_a_batch_that_does_not_fit_is_told_and_the_others_go_on(monkeypatch: Patch) -> None:
    render = Renderer._batch

    def batch(self: Renderer, context: Any, rows: Sequence[Any], size: int, chunks: int) -> Any:
        if size == 2:
            raise torch.OutOfMemoryError("out of memory")
        assert size != 1 or len(rows) == 1  # it is not made smaller
        return render(self, context, rows, size, chunks)

    monkeypatch.setattr(Renderer, "_batch", batch)
    report = api.bench(replace(SMALL, batches=(2, 1), rounds=1, steps=1))
    assert report.as_json()["batches"][0] == {"batch": 2, "fits": False}
    assert report.as_json()["batches"][1]["fits"] and report.exit_code == 0
    assert replace(report, batches={2: None}).exit_code == 1


def test_numbers_that_are_none_are_told(monkeypatch: Patch) -> None:
    draw = noise.draw
    monkeypatch.setattr(noise, "draw", lambda draws, shape: draw(draws, shape) * float("nan"))
    with pytest.raises(PictureError):
        api.bench(replace(SMALL, batches=(1,), rounds=1, steps=1))


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"shape": "sd3"}, UsageError, "model shape 'sd3': there are"),
        ({"batches": (0,)}, UsageError, "batch 0: from 1 to 1024"),
        ({"rounds": 0}, UsageError, "rounds 0: from 1 to"),
        ({"steps": 0}, SpecError, "steps: 0 is outside 1 to"),
        ({"size": 100}, SpecError, "width: 100 is not a multiple of 8"),
        ({"render": {"dtype": "int8"}}, SpecError, "render.dtype: 'int8' is not one of"),
    ],
)
def test_options_that_are_wrong(change: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        api.bench(replace(SMALL, **change))


@pytest.mark.parametrize("name", sorted(shapes.SHAPES))
def test_a_shape_is_no_model_that_a_job_could_name(name: str) -> None:
    assert not shapes.model(name).parts and shapes.model(name).name == f"shape-{name}"
