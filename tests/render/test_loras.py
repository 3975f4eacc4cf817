"""LoRAs: the formula, every trainer's names, and what does not fit."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
import torch

from sdbatch.errors import ModelError
from sdbatch.render import loras
from sdbatch.render.finetunes import FineTunes

Handmade = Any


def same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return bool(torch.equal(one, other))


@pytest.mark.parametrize("alpha", [None, 1.0, 8.0])
def test_every_layer_follows_the_formula(demo_pipe: Any, handmade: Handmade, alpha: float | None) -> None:
    """W x + weight * alpha / rank * B (A x) is (W + weight * alpha / rank * B A) x, and two LoRAs add up."""
    tunes = FineTunes(demo_pipe)
    one, other = handmade.halves(), handmade.halves(seed=1, rank=2)
    tunes.use([(handmade.lora("a", alpha=alpha), 0.6), (handmade.lora("b", seed=1, rank=2), -0.5)], [], None)
    draw = torch.Generator().manual_seed(3)
    given, made = {}, {}
    for name in one:
        module = layer(demo_pipe, name)
        _, inputs, *kernel = module.weight.shape
        given[name] = torch.randn((2, inputs, 8, 8) if kernel else (2, 5, inputs), generator=draw)
        made[name] = module(given[name])
    tunes.clear()
    for name in one:
        delta = 0.6 * (alpha or 4.0) / 4 * product(*one[name]) - 0.5 * product(*other[name])
        module = copy.deepcopy(layer(demo_pipe, name))
        module.weight.data += delta
        assert torch.allclose(made[name], module(given[name]), atol=5e-5), name


def layer(pipe: Any, name: str) -> Any:
    component, _, path = name.partition(".")
    return getattr(pipe, component).get_submodule(path)


def product(down: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    return (up.flatten(1) @ down.flatten(1)).reshape(up.shape[0], *down.shape[1:])


@pytest.mark.parametrize("style", ["peft", "old", "original"])
def test_every_trainers_names_give_the_same_picture(demo_pipe: Any, handmade: Handmade, style: str) -> None:
    tunes = FineTunes(demo_pipe)
    pictures = []
    for names in ("kohya", style):
        tunes.use([(handmade.saved(names, handmade.names(names, handmade.halves())), 0.8)], [], None)
        pictures.append(handmade.rendered(demo_pipe))
    tunes.clear()
    assert same(*pictures)


def test_a_matrix_stands_for_a_1x1_convolution(demo_pipe: Any, handmade: Handmade) -> None:
    tensors = handmade.names("kohya", handmade.halves())
    flat = {name: tensor.flatten(1) if "proj_in" in name else tensor for name, tensor in tensors.items()}
    tunes = FineTunes(demo_pipe)
    pictures = []
    for name, content in (("square", tensors), ("flat", flat)):
        tunes.use([(handmade.saved(name, content), 1.0)], [], None)
        pictures.append(handmade.rendered(demo_pipe))
    tunes.clear()
    assert same(*pictures)


@pytest.mark.parametrize(
    ("settings", "scale"),
    [
        ({"lora_alpha": 8, "r": 4}, 2.0),
        ({"lora_alpha": 8, "r": 4, "use_rslora": True}, 4.0),
        ({"lora_alpha": 8, "r": 4, "alpha_pattern": {"attn1.to_q": 2}}, 0.5),
        ({}, 1.0),
    ],
)
def test_alpha_in_the_metadata_that_diffusers_writes(settings: dict[str, Any], scale: float) -> None:
    tensors = {
        "unet.mid_block.attn1.to_q.lora_A.weight": torch.ones(4, 6),
        "unet.mid_block.attn1.to_q.lora_B.weight": torch.ones(5, 4),
    }
    metadata = {loras.ADAPTER_METADATA: json.dumps({f"unet.{key}": value for key, value in settings.items()})}
    (found,) = loras.layers("LoRA 'x'", tensors, metadata).values()
    assert found.scale == scale


def test_plain_diffusers_gives_the_same_picture(demo_pipe: Any, handmade: Handmade) -> None:
    """Of a file in peft's names: of one in Kohya's, its loader leaves layers out."""
    tensors = handmade.names("peft", handmade.halves())
    other = handmade.load()
    other.load_lora_weights(tensors, adapter_name="x")
    other.set_adapters(["x"], [0.8])
    tunes = FineTunes(demo_pipe)
    tunes.use([(handmade.saved("a", tensors), 0.8)], [], None)
    assert same(handmade.rendered(demo_pipe), handmade.rendered(other))
    tunes.clear()


def resized(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    key = next(key for key in tensors if "to_q" in key and "down" in key)
    return {**tensors, key: torch.ones(4, 97)}


def renamed(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {key.replace("blocks_1", "blocks_7"): tensor for key, tensor in tensors.items()}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (resized, r"made for another model: its layer '.*to_q' is 4×97 and 96×4, the model's 96×96"),
        (renamed, r"made for another model: 7 of its 12 layers are in this one; '.*blocks_7.*' is not"),
        (lambda tensors: {f"lora_unet_x.{key.split('.', 1)[1]}": tensor for key, tensor in tensors.items()}, "none of"),
        (lambda tensors: {**tensors, "lora_unet_mid_block.diff": torch.ones(3)}, "'lora_unet_mid_block.diff' is not"),
        (lambda tensors: dict(list(tensors.items())[:-1]), "not all of, a layer"),
        (lambda tensors: {**tensors, next(iter(tensors)): torch.ones(3, 96)}, "is not, or not all of, a layer"),
        (lambda tensors: {**tensors, "lora_te_x.alpha": torch.ones(1)}, "not all of, a layer"),
    ],
)
def test_a_lora_that_does_not_fit_leaves_the_base(demo_pipe: Any, handmade: Handmade, change: Any, said: str) -> None:
    good = handmade.saved("good", handmade.names("kohya", handmade.halves()))
    bad = handmade.saved("bad", change(handmade.names("kohya", handmade.halves())))
    tunes = FineTunes(demo_pipe)
    before = handmade.state(demo_pipe)
    tunes.use([(good, 1.0)], [], None)
    with pytest.raises(ModelError, match=f"LoRA 'bad': .*{said}"):
        tunes.use([(good, 1.0), (bad, 1.0)], [], None)
    assert handmade.state(demo_pipe) == before
    assert tunes.use([], [], None), "prompt embeddings kept from before the failure are stale"
