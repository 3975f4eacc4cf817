"""Fine-tunes on and off: the base comes back bit for bit, and nothing follows from what was on before."""

from __future__ import annotations

from typing import Any

import diffusers
import pytest
import torch

from sdbatch.errors import ModelError
from sdbatch.render.finetunes import FineTunes
from sdbatch.sources.models import EMBEDDED

Handmade = Any


def same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return bool(torch.equal(one, other))


def test_base_lora_base(demo_pipe: Any, handmade: Handmade) -> None:
    base = handmade.rendered(demo_pipe)
    tunes = FineTunes(demo_pipe)
    assert tunes.use([(handmade.lora("a"), 1.0)], [], None)
    with_lora = handmade.rendered(demo_pipe)
    assert (with_lora - base).abs().max() > 0.05
    assert tunes.clear()
    assert same(handmade.rendered(demo_pipe), base)


def test_a_picture_does_not_follow_from_what_was_on_before(demo_pipe: Any, handmade: Handmade) -> None:
    a, b = handmade.lora("a"), handmade.lora("b", seed=1, alpha=2.0)
    tunes = FineTunes(demo_pipe)
    tunes.use([(b, 0.5)], [], None)
    only_b = handmade.rendered(demo_pipe)
    tunes.use([(a, 0.7), (b, 0.5)], [], None)
    both = handmade.rendered(demo_pipe)
    tunes.use([(b, 0.5)], [], None)
    assert same(handmade.rendered(demo_pipe), only_b)
    tunes.use([(b, 1.5)], [], None)
    assert not same(handmade.rendered(demo_pipe), only_b)
    tunes.clear()
    tunes.use([(b, 0.5)], [], None)
    assert same(handmade.rendered(demo_pipe), only_b)
    tunes.use([(a, 0.7), (b, 0.5)], [], None)
    assert same(handmade.rendered(demo_pipe), both) and not same(both, only_b)
    tunes.clear()


def test_the_same_again_changes_nothing(demo_pipe: Any, handmade: Handmade) -> None:
    a = handmade.lora("a")
    tunes = FineTunes(demo_pipe)
    assert not tunes.use([], [], None)
    assert tunes.use([(a, 1.0)], [], None)
    on = handmade.state(demo_pipe)
    assert not tunes.use([(a, 1.0)], [], None)
    assert handmade.state(demo_pipe) == on
    assert tunes.use([(a, 0.9)], [], None)
    assert tunes.clear() and not tunes.clear()


def test_files_are_read_once_and_the_oldest_forgotten(demo_pipe: Any, handmade: Handmade) -> None:
    a, b = handmade.lora("a"), handmade.lora("b", seed=1)
    generous, mean = FineTunes(demo_pipe), FineTunes(demo_pipe, kept_bytes=1)
    for tunes in (generous, mean):
        for tune in (a, b):
            tunes.use([(tune, 1.0)], [], None)
        tunes.clear()
    a.path.unlink()
    generous.use([(a, 1.0)], [], None)
    generous.clear()
    with pytest.raises(ModelError, match=r"LoRA 'a': .* cannot be read"):
        mean.use([(a, 1.0)], [], None)


def test_weight_0_is_the_base(demo_pipe: Any, handmade: Handmade) -> None:
    assert not FineTunes(demo_pipe).use([(handmade.lora("a"), 0.0)], [], None)


def test_pipelines_that_share_components_change_together(demo_pipe: Any, handmade: Handmade) -> None:
    tunes = FineTunes(demo_pipe)
    tunes.use([(handmade.lora("a"), 1.0)], [], None)
    other = diffusers.StableDiffusionPipeline(**demo_pipe.components)
    other.set_progress_bar_config(disable=True)
    assert same(handmade.rendered(other), handmade.rendered(demo_pipe))
    tunes.clear()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(handmade: Handmade, dtype: torch.dtype) -> None:
    pipe = handmade.load(dtype)
    base = handmade.rendered(pipe)
    tunes = FineTunes(pipe)
    word = handmade.embedding("MyStar", 3)
    tunes.use([(handmade.lora("a"), 1.0)], [(word, "MyStar")], None)
    assert {tensor.dtype for root in (pipe.unet, pipe.text_encoder) for tensor in root.buffers()} <= {
        dtype,
        torch.int64,
    }
    assert pipe.text_encoder.get_input_embeddings().weight.dtype == pipe.unet.dtype == dtype
    assert not same(handmade.rendered(pipe, "MyStar"), base)
    tunes.clear()
    assert same(handmade.rendered(pipe), base)


def test_no_random_number_is_drawn(demo_pipe: Any, handmade: Handmade) -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    tunes = FineTunes(demo_pipe)
    tunes.use([(handmade.lora("a"), 1.0)], [(handmade.embedding("MyStar", 3), "MyStar")], None)
    tunes.clear()
    assert same(torch.get_rng_state(), before)


@pytest.mark.parametrize("attention", ["sdpa", "eager", "sliced"])
def test_everything_at_once_in_any_attention(attention: str, handmade: Handmade) -> None:
    pipe = handmade.load()
    if attention == "eager":
        pipe.unet.set_attn_processor(diffusers.models.attention_processor.AttnProcessor())
    elif attention == "sliced":
        pipe.enable_attention_slicing()
    before, base = handmade.state(pipe), handmade.rendered(pipe)
    shapes = {"weight": (128, 128), "bias": (128,)}
    layers = {f"128.{half}.linear.0.{leaf}": torch.full(shapes[leaf], 0.01) for half in "kv" for leaf in shapes}
    network = handmade.saved("net", layers, "hypernetwork")
    tunes = FineTunes(pipe)
    tunes.use(
        [(handmade.lora("a"), 1.0)],
        [(handmade.embedding("MyStar", 3), "MyStar")],
        (network, 0.5),
    )
    assert not same(handmade.rendered(pipe, f"{handmade.prompt} MyStar"), base)
    tunes.clear()
    assert handmade.state(pipe) == before
    assert same(handmade.rendered(pipe), base)


@pytest.mark.slow
def test_a_compiled_unet_notices(handmade: Handmade) -> None:
    pipe = handmade.load()
    pipe.unet.compile(backend="eager")
    base = handmade.rendered(pipe)
    layers = {f"128.{half}.linear.0.weight": torch.full((128, 128), 0.01) for half in "kv"}
    layers |= {f"128.{half}.linear.0.bias": torch.zeros(128) for half in "kv"}
    tunes = FineTunes(pipe)
    for lora, network in ((handmade.lora("a"), None), (None, handmade.saved("net", layers, "hypernetwork"))):
        tunes.use([(lora, 1.0)] if lora else [], [], (network, 1.0) if network else None)
        assert not same(handmade.rendered(pipe), base)
        tunes.clear()
        assert same(handmade.rendered(pipe), base)


def test_swapping_the_vae_and_back_is_exact(demo_pipe: Any, handmade: Handmade) -> None:
    base, own = handmade.rendered(demo_pipe), demo_pipe.vae
    other = diffusers.AutoencoderKL.from_pretrained(EMBEDDED / "demo" / "vae")
    with torch.no_grad():
        other.decoder.conv_out.bias.add_(0.2)
    demo_pipe.vae = other
    assert not same(handmade.rendered(demo_pipe), base)
    demo_pipe.vae = own
    assert same(handmade.rendered(demo_pipe), base)
