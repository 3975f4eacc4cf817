"""Hypernetworks: AUTOMATIC1111's formula, its files, and the network as it was."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from sdbatch.errors import ModelError
from sdbatch.render import hypernetworks
from sdbatch.render.finetunes import FineTunes
from sdbatch.sources.finetunes import FineTune

Handmade = Any
ATTENTION = "mid_block.attentions.0.transformer_blocks.0"


def half(width: int, seed: int, *, norm: bool, activation: bool, dropout: bool = False) -> dict[str, torch.Tensor]:
    """The state dict of `torch.nn.Sequential` with layers width → 2 width → width, as AUTOMATIC1111 numbers it."""
    draw = torch.Generator().manual_seed(seed)
    state: dict[str, torch.Tensor] = {}
    at = 0
    for outputs, inputs in ((2 * width, width), (width, 2 * width)):
        state[f"linear.{at}.weight"] = torch.randn((outputs, inputs), generator=draw) * 0.1
        state[f"linear.{at}.bias"] = torch.randn(outputs, generator=draw) * 0.1
        at += 1 + activation
        if norm:
            state[f"linear.{at}.weight"] = torch.rand(outputs, generator=draw)
            state[f"linear.{at}.bias"] = torch.randn(outputs, generator=draw) * 0.1
            at += 1
        at += dropout
    return state


def pickled(widths: tuple[int, ...] = (96, 128), **changes: Any) -> dict[Any, Any]:
    """What `torch.load` gives of an AUTOMATIC1111 hypernetwork: [1, 2, 1], relu, layer norm, activated output."""
    settings: dict[Any, Any] = {
        "step": 100, "name": "handmade", "layer_structure": [1, 2, 1], "activation_func": "relu", "is_layer_norm": True,
        "weight_initialization": "Normal", "use_dropout": False, "sd_checkpoint": None, "activate_output": True,
    }  # fmt: skip
    states = {
        width: tuple(half(width, width + which, norm=True, activation=True) for which in (0, 1)) for width in widths
    }
    return {**states, **settings, **changes}


def reference(state: dict[str, torch.Tensor], context: NDArray[np.float64]) -> NDArray[np.float64]:
    """The formula in numpy, float64: linear, relu, layer norm, twice."""
    parts = {name: tensor.numpy().astype(np.float64) for name, tensor in state.items()}
    made = context
    for linear, norm in ((0, 2), (3, 5)):
        made = made @ parts[f"linear.{linear}.weight"].T + parts[f"linear.{linear}.bias"]
        made = np.maximum(made, 0)
        made = (made - made.mean(-1, keepdims=True)) / np.sqrt(made.var(-1, keepdims=True) + 1e-5)
        made = made * parts[f"linear.{norm}.weight"] + parts[f"linear.{norm}.bias"]
    return made


@pytest.fixture
def tune(handmade: Handmade) -> FineTune:
    """The hand-made hypernetwork, converted."""
    flat = hypernetworks.flatten(pickled())
    assert flat is not None
    return handmade.saved("net", flat[0], "hypernetwork", flat[1])


@pytest.mark.parametrize(("attention", "width"), [("attn1", 96), ("attn2", 128)])
def test_keys_and_values_follow_the_formula(demo_pipe: Any, tune: FineTune, attention: str, width: int) -> None:
    """k = K(c + strength f(c)) and v = V(c + strength g(c)), in self-attention and in cross-attention."""
    context = torch.randn((2, 5, width), generator=torch.Generator().manual_seed(0))
    module = demo_pipe.unet.get_submodule(f"{ATTENTION}.{attention}")
    tunes = FineTunes(demo_pipe)
    tunes.use([], [], (tune, 0.7))
    made = [module.to_k(context), module.to_v(context)]
    queries = module.to_q
    tunes.clear()
    assert module.to_q is queries, "queries are left alone"
    exact = context.numpy().astype(np.float64)
    for number, layer in enumerate((module.to_k, module.to_v)):
        shifted = exact + 0.7 * reference(pickled()[width][number], exact)
        wanted = shifted @ layer.weight.detach().numpy().astype(np.float64).T
        assert np.abs(made[number].detach().numpy() - wanted).max() < 1e-4


def test_on_and_off(demo_pipe: Any, handmade: Handmade, tune: FineTune) -> None:
    base = handmade.rendered(demo_pipe)
    tunes = FineTunes(demo_pipe)
    pictures = []
    for strength in (0.3, 0.6, 0.3):
        assert tunes.use([], [], (tune, strength))
        pictures.append(handmade.rendered(demo_pipe))
    assert torch.equal(pictures[0], pictures[2])
    assert (pictures[0] - base).abs().mean() < (pictures[1] - base).abs().mean()
    assert tunes.use([], [], (tune, 0.0)), "strength 0 is the base"
    assert torch.equal(handmade.rendered(demo_pipe), base)
    assert not tunes.clear()


def test_a_lora_below_a_hypernetwork(demo_pipe: Any, handmade: Handmade, tune: FineTune) -> None:
    """The hypernetwork changes the context before the LoRA's layer sees it."""
    path = f"{ATTENTION}.attn2.to_k"
    tunes = FineTunes(demo_pipe)
    context = torch.randn((2, 5, 128), generator=torch.Generator().manual_seed(0))
    tunes.use([], [], (tune, 0.7))
    network = demo_pipe.unet.get_submodule(path).network
    tunes.use([(handmade.lora("a"), 1.0)], [], None)
    wanted = demo_pipe.unet.get_submodule(path)(context + network(context) * 0.7)
    tunes.use([(handmade.lora("a"), 1.0)], [], (tune, 0.7))
    assert torch.equal(demo_pipe.unet.get_submodule(path)(context), wanted)
    tunes.clear()


def test_a_hypernetwork_for_another_model(demo_pipe: Any, handmade: Handmade) -> None:
    flat = hypernetworks.flatten(pickled((64, 80)))
    assert flat is not None
    other = handmade.saved("net", flat[0], "hypernetwork", flat[1])
    with pytest.raises(ModelError, match=r"hypernetwork 'net': made for another model: its widths 64, 80 are not"):
        FineTunes(demo_pipe).use([], [], (other, 1.0))


def test_layers_are_numbered_anew() -> None:
    flat = hypernetworks.flatten(pickled((96,)))
    assert flat is not None
    tensors, metadata = flat
    assert set(tensors) == {
        f"96.{which}.{part}.{number}.{leaf}"
        for which in "kv" for part in ("linear", "norm") for number in (0, 1) for leaf in ("weight", "bias")
    }  # fmt: skip
    assert {key: metadata[key] for key in ("activation_func", "activate_output", "layer_structure", "name")} == {
        "activation_func": "relu", "activate_output": "true", "layer_structure": "[1, 2, 1]", "name": "handmade",
    }  # fmt: skip


def test_numbers_that_count_dropout() -> None:
    """Dropout has no weights, but the numbers of the layers after it are higher."""
    plain, dropped = (
        {96: (half(96, 0, norm=True, activation=True, dropout=dropout), half(96, 1, norm=True, activation=True))}
        for dropout in (False, True)
    )
    one, other = hypernetworks.flatten(plain), hypernetworks.flatten(dropped)
    assert one is not None and other is not None
    assert one[0].keys() == other[0].keys()
    assert all(torch.equal(one[0][key], other[0][key]) for key in one[0])


def test_the_oldest_files() -> None:
    """Two linear layers and nothing else, under other names."""
    new = half(96, 0, norm=False, activation=False)
    old = {name.replace("linear.0", "linear1").replace("linear.1", "linear2"): tensor for name, tensor in new.items()}
    flat = hypernetworks.flatten({96: (old, old)})
    assert flat is not None
    network = hypernetworks.networks("x", *flat)[96][0]
    given = torch.randn(3, 96)
    linear = torch.nn.functional.linear
    wanted = linear(
        linear(given, new["linear.0.weight"], new["linear.0.bias"]), new["linear.1.weight"], new["linear.1.bias"]
    )
    assert torch.equal(network(given), wanted)


@pytest.mark.parametrize(
    ("name", "on_output", "layers"),
    [
        ("linear", True, ["Linear", "Identity", "Linear", "Identity"]),
        ("swish", False, ["Linear", "Hardswish", "Linear"]),
        ("LeakyReLU", False, ["Linear", "LeakyReLU", "Linear"]),
        ("softsign", True, ["Linear", "Softsign", "Linear", "Softsign"]),
    ],
)
def test_activations(name: str, on_output: bool, layers: list[str]) -> None:
    state = half(96, 0, norm=False, activation=name != "linear")
    flat = hypernetworks.flatten({96: (state, state), "activation_func": name, "activate_output": on_output})
    assert flat is not None
    network = hypernetworks.networks("x", *flat)[96][0]
    assert [type(part).__name__ for part in network] == layers


@pytest.mark.parametrize("state", [None, [], {}, {"a": 1}, {768: 1}, {768: (1, 2)}, {"string_to_param": {}}])
def test_what_is_no_hypernetwork(state: Any) -> None:
    assert hypernetworks.flatten(state) is None


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (pickled(activation_func="glu"), "activation 'glu' is not known; there are: celu"),
        ({96: ({"x.weight": torch.ones(3)}, {})}, "'x.weight' is no tensor of one"),
        ({96: ({}, {})}, "holds no tensors"),
        ({96: (half(96, 0, norm=False, activation=True), {})}, "width 96 are broken: .*96.v has no layers"),
        ({96: (half(80, 0, norm=False, activation=True),) * 2}, "width 96 are broken: .*size mismatch"),
        ({96: ({"linear.0.weight": torch.ones(9, 96), "linear.0.bias": torch.ones(9)},) * 2}, "96.k ends at 9"),
        ({96: ({"linear.0.weight": torch.ones(96, 96)},) * 2}, "width 96 are broken: .*96.k.linear.0.bias"),
    ],
)
def test_broken_hypernetworks(state: Any, said: str) -> None:
    with pytest.raises(ModelError, match=f"(?s)hypernetwork: .*{said}"):
        hypernetworks.flatten(state)
