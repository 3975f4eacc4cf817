"""Model shapes: of full size by their configurations, with random weights that make numbers."""

from __future__ import annotations

import pytest
import torch

from sdbatch.errors import UsageError
from sdbatch.render.bench import weights
from sdbatch.sources import shapes

VAE = 83_653_863
COUNTS = {
    "sd15": {"text_encoder": 123_060_480, "unet": 859_520_964, "vae": VAE},
    "sd21": {"text_encoder": 340_387_840, "unet": 865_910_724, "vae": VAE},
    "sdxl": {"text_encoder": 123_060_480, "text_encoder_2": 694_659_840, "unet": 2_567_463_684, "vae": VAE},
}
"""Parameters of the models as they were published."""
DEMO = shapes.model("demo")


@pytest.mark.parametrize("name", COUNTS)
def test_full_size(name: str) -> None:
    networks = weights.networks(shapes.model(name))
    assert weights.counts(networks) == COUNTS[name]
    assert all(one.is_meta for network in networks.values() for one in network.parameters())


def test_every_shape_has_a_test() -> None:
    assert set(shapes.SHAPES) == {*COUNTS, "demo"}


def test_an_unknown_shape_is_told() -> None:
    with pytest.raises(UsageError, match="model shape 'sd16': there are sd15, sd21, sdxl, demo"):
        shapes.model("sd16")


def test_the_prompts_of_a_full_size_model_are_clips_tokens() -> None:
    parts = weights._others(shapes.model("sd21"), torch.float32)
    assert set(parts) == {"tokenizer", "scheduler"}
    assert parts["scheduler"].config.prediction_type == "v_prediction"
    found = parts["tokenizer"]("a photograph of an astronaut", padding="max_length").input_ids
    assert len(found) == 77 and found[:3] == [49406, 320, 8853] and found[6] == 49407


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_weights_are_drawn_in_the_dtype_and_the_same_each_time(dtype: torch.dtype) -> None:
    first, second = (weights.components(DEMO, dtype, "cpu") for _ in range(2))
    assert set(first) == {"tokenizer", "scheduler", "text_encoder", "unet", "vae"}
    for part in weights.counts(first):
        again = second[part].state_dict()
        for name, one in first[part].state_dict().items():
            assert torch.isfinite(one).all() and torch.equal(one, again[name])
            assert not one.is_floating_point() or one.dtype == dtype
    kernel = first["unet"].conv_in.weight.float()
    assert kernel.std() == pytest.approx((4 * 9) ** -0.5, rel=0.1)
    assert (first["unet"].conv_norm_out.weight == 1).all() and (first["unet"].conv_in.bias == 0).all()


def test_buffers_are_whole() -> None:
    text = weights.components(DEMO, torch.float32, "cpu")["text_encoder"]
    (positions,) = [buffer for name, buffer in text.named_buffers() if name.endswith("position_ids")]
    assert positions.flatten().tolist() == list(range(77))


def test_weights_that_do_not_fit_are_told_before_they_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "_free", lambda device: 2**20)
    monkeypatch.setattr(weights, "fill", None)
    with pytest.raises(UsageError, match=r"shape-sdxl in bfloat16: its weights take 6\.\d GiB, and cpu has 0\.0 GiB"):
        weights.components(shapes.model("sdxl"), torch.bfloat16, "cpu")
