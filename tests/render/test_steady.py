"""Layers in which a row's bits do not follow from its place, over libraries in which they do."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline
from torch import nn
from torch.nn import functional

from sdbatch.render import loras, models, steady
from sdbatch.render.models import Models
from sdbatch.render.modes import txt2img
from sdbatch.sources.models import ModelSource
from sdbatch.types import Render

PIPELINE = "StableDiffusionPipeline"
WHOLE = 4
"""Rows that the library below adds up alike; those after them in another order."""


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(steady, "_parts", {})
    torch.set_num_threads(1)
    with torch.inference_mode():
        yield


@pytest.fixture
def mindful(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A library whose kernels know where a row stands; how many rows each call had."""
    calls: list[int] = []

    def halves(call: Any) -> Any:
        def called(rows: torch.Tensor, weight: torch.Tensor, bias: Any = None, *how: Any) -> torch.Tensor:
            calls.append(len(rows))
            first = call(rows[:WHOLE], weight, bias, *how)
            cut = weight.shape[1] // 2  # the sum over inputs in two
            last, kernel, channels = rows[WHOLE:], weight, 1 if how else -1
            parts = last.split([cut, last.shape[channels] - cut], channels)
            kernels = kernel.split([cut, kernel.shape[1] - cut], 1)
            split = call(parts[1], kernels[1], bias, *how) + call(parts[0], kernels[0], None, *how)
            return torch.cat([first, split])

        return called

    library = SimpleNamespace(linear=halves(functional.linear), conv2d=halves(functional.conv2d))
    monkeypatch.setattr(steady, "F", library)
    return calls


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(5))


def layers() -> list[tuple[nn.Module, torch.Tensor]]:
    torch.manual_seed(3)
    return [
        (nn.Linear(96, 64), drawn(1, 7, 96).expand(16, -1, -1).contiguous()),
        (nn.Conv2d(96, 64, 3, padding=1), drawn(1, 96, 8, 8).expand(16, -1, -1, -1).contiguous()),
    ]


def test_rows_alike_come_out_alike_wherever_they_stand(mindful: list[int]) -> None:
    for layer, rows in layers():
        steady.make(layer)
        with steady.off():
            left = layer(rows)
        assert not torch.equal(left, left[:1].expand_as(left)), "the library minds the place, or this shows nothing"
        made = layer(rows)
        assert torch.equal(made, made[:1].expand_as(made))
        assert torch.equal(made[:WHOLE], left[:WHOLE])
    assert set(steady.found().values()) == {WHOLE}, "as many rows at once as may be"


def test_it_is_tried_once_a_shape_whatever_the_weights_are(mindful: list[int]) -> None:
    for layer, rows in layers():
        other = copy.deepcopy(layer)
        for made in (layer, other.apply(lambda one: nn.init.normal_(one.weight))):
            steady.make(made)
            mindful.clear()
            made(rows)
        assert mindful == [WHOLE] * 4, "of the second layer there are only its own calls"
    assert len(steady.found()) == 2


def test_a_library_that_minds_no_place_is_called_once() -> None:
    for layer, rows in layers():
        steady.make(layer)
        with steady.off():
            expected = layer(rows)
        assert torch.equal(layer(rows), expected)
    assert steady.found() == {} and len(steady._parts) == 2


def test_a_number_of_rows_that_no_part_divides_goes_one_by_one(mindful: list[int]) -> None:
    layer, rows = layers()[0]
    steady.make(layer)
    made = layer(rows[:7])
    assert torch.equal(made, made[:1].expand_as(made))
    assert list(steady.found().values()) == [1]


def test_only_plain_layers_are_made_steady() -> None:
    class Other(nn.Linear):
        pass

    network = nn.ModuleList(
        [nn.Linear(2, 2), nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 3, padding=1, padding_mode="circular")]
    )
    network.extend([Other(2, 2), nn.Conv2d(2, 2, 3, padding="same"), nn.LayerNorm(2)])
    steady.make(network)
    steady.make(network)
    assert [type(one) for one in network] == [steady.Linear, steady.Conv2d, nn.Conv2d, Other, nn.Conv2d, nn.LayerNorm]


def test_only_networks_on_other_devices_than_a_cpu_are_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    monkeypatch.setattr(models.steady, "make", lambda network: made.append(type(network).__name__))
    render = Render(4, 1, "float32", "cpu", "sdpa", False, False, "auto", "degrade")
    demo = ModelSource(Path()).resolve("demo")
    Models(render).pipeline(demo, PIPELINE)
    assert made == []
    monkeypatch.setattr(DiffusionPipeline, "to", lambda pipe, device: pipe)  # as if there were one
    Models(replace(render, device="cuda")).pipeline(demo, PIPELINE)
    assert made == ["UNet2DConditionModel", "AutoencoderKL", "CLIPTextModel"]


def test_a_lora_on_a_steady_layer_is_steady(mindful: list[int]) -> None:
    for layer, rows in layers():
        steady.make(layer)
        kernel = (3, 3) if isinstance(layer, nn.Conv2d) else ()
        one = (1, 1) if isinstance(layer, nn.Conv2d) else ()
        part = loras.Layer(drawn(16, 96, *kernel), drawn(64, 16, *one), 1.0)
        made = loras.Adapted(layer, [(part, 0.5)])(rows)
        assert torch.equal(made, made[:1].expand_as(made))
    assert len(steady.found()) == 6, "three each: the layer, down and up"


def test_a_picture_alone_is_left_to_the_library(rig: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []
    draw = txt2img.draw

    def watched(*given: Any) -> Any:
        seen.append(bool(steady._left))
        return draw(*given)

    monkeypatch.setattr(txt2img, "draw", watched)
    rows = rig.rows({"prompt": "a star", "steps": 1})
    for size in (1, 2):
        rig.renderer.render(rows, size)
    assert seen == [True, False] and not steady._left


@pytest.mark.parametrize("name", ["linear", "conv2d"])
def test_what_a_compiler_sees_of_a_layer_is_what_it_does(name: str) -> None:
    torch.manual_seed(0)
    given: tuple[Any, ...] = (drawn(4, 7, 6), drawn(5, 6), drawn(5))
    if name == "conv2d":
        given = (drawn(4, 6, 9, 8), drawn(5, 6, 3, 3), drawn(5), (2, 2), (1, 1), (1, 1), 1)
    checks = ("test_schema", "test_faketensor")
    torch.library.opcheck(getattr(torch.ops.sdbatch, name).default, given, test_utils=checks)
    if name == "conv2d":
        last = tuple(one.to(memory_format=torch.channels_last) for one in given[:2])
        torch.library.opcheck(torch.ops.sdbatch.conv2d.default, (*last, *given[2:]), test_utils=checks)
        assert torch.ops.sdbatch.conv2d(*last, *given[2:]).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.slow  # compiles a network
def test_compiled_layers_are_steady_too(mindful: list[int]) -> None:
    torch._dynamo.reset()
    for layer, rows in layers():
        network = nn.Sequential(layer, nn.SiLU())
        steady.make(network)
        expected = network(rows)
        network.compile(dynamic=False)
        mindful.clear()
        made = network(rows)
        assert torch.equal(made, made[:1].expand_as(made)) and set(mindful) == {WHOLE}
        torch.testing.assert_close(made, expected)
