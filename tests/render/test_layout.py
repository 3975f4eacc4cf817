"""How networks lie in memory and how they are compiled: decided by the kind of device and by each shape alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sdbatch.render import device, fingerprint
from sdbatch.render.models import Models, compiled, lay_out
from sdbatch.sources.models import ModelSource
from sdbatch.types import Render

RENDER = Render(4, 1, "float32", "cpu", "sdpa", False, False, "auto", "degrade")
DEMO = ModelSource(Path()).resolve("demo")
PIPELINE = "StableDiffusionPipeline"


def channels_last(network: Any) -> bool:
    kernels = [weights for weights in network.parameters() if weights.dim() == 4 and min(weights.shape[1:3]) > 1]
    return bool(kernels) and all(one.is_contiguous(memory_format=torch.channels_last) for one in kernels)


def test_only_what_is_compiled_for_cuda_has_its_channels_last() -> None:
    found = {(name, how): device.memory_format(name, compiled=how) for name in ("cpu", "mps", "cuda") for how in (0, 1)}
    assert [key for key, layout in found.items() if layout == "channels_last"] == [("cuda", 1)]
    assert set(found.values()) == {"channels_last", "contiguous"}


def test_a_model_is_laid_out_as_its_device_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Models(RENDER).pipeline(DEMO, PIPELINE)
    assert not channels_last(plain.unet) and not channels_last(plain.vae)
    monkeypatch.setattr(device, "memory_format", lambda name, *, compiled: "channels_last")
    turned = Models(RENDER).pipeline(DEMO, PIPELINE)
    assert channels_last(turned.unet) and not channels_last(turned.vae)


def test_the_picture_stays_the_same_but_for_rounding(rig: Any) -> None:
    job = {"prompt": "a star", "seed": 3, "steps": 2}
    (before,) = rig.draw(job)
    pipe = rig.renderer._models.pipeline(DEMO, PIPELINE)
    with torch.inference_mode():  # as it was loaded
        for network in (pipe.unet, pipe.vae):
            lay_out(network, "channels_last")
    (after,) = rig.draw(job)
    assert np.abs(before.astype(int) - after.astype(int)).max() <= 2


def test_the_fingerprint_says_how_it_lay(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = device.Device("cuda", "cuda NVIDIA H100", 80, 1)
    render = replace(RENDER, device="cuda", dtype="float16", compile=True)
    last = fingerprint.of(render, gpu, {}, 4, "ab")
    monkeypatch.setattr(device, "memory_format", lambda name, *, compiled: "contiguous")
    assert fingerprint.of(render, gpu, {}, 4, "ab") != last


@pytest.mark.slow  # compiles a network three times
def test_what_was_compiled_before_does_not_change_bits(tiny: Any) -> None:
    torch.manual_seed(0)
    network = tiny._unet(cross_attention_dim=32).eval()
    torch.set_num_threads(1)

    def made(*sides: int) -> torch.Tensor:
        """What the network gives for the last of these sizes, met in this order."""
        torch._dynamo.reset()
        compiled(network)
        for side in sides:
            draw = torch.Generator().manual_seed(1)
            given = torch.randn((2, 4, side, side), generator=draw), torch.tensor(5)
            text = torch.randn((2, 77, 32), generator=draw)
            with torch.inference_mode():
                found: torch.Tensor = network(*given, encoder_hidden_states=text, return_dict=False)[0]
        return found

    assert torch.equal(made(8, 16), made(16))


def test_every_shape_is_compiled_for_itself() -> None:
    from torch._dynamo import config

    before = config.recompile_limit, config.accumulated_recompile_limit
    asked: list[dict[str, Any]] = []

    class Network(torch.nn.Module):
        def compile(self, **how: Any) -> None:
            asked.append(how)

    try:
        compiled(Network())
        assert asked == [{"dynamic": False}]
        assert config.recompile_limit >= 1000 and config.accumulated_recompile_limit >= 1000
    finally:
        config.recompile_limit, config.accumulated_recompile_limit = before
