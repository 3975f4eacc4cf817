"""The family's folders: what they hold, that plain diffusers loads them, and that each does what it is for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

from sdbatch.demo import family_pipelines, judge, score_family

WEIGHTS = judge.WEIGHTS.parent
PIPELINES = {
    "demo-inpaint": ("StableDiffusionInpaintPipeline", 9),
    "demo-depth": ("StableDiffusionDepth2ImgPipeline", 5),
    "demo-upscaler": ("StableDiffusionUpscalePipeline", 7),
}
NAMES = (*PIPELINES, "demo-controlnet")


def pipeline(name: str) -> Any:
    return family_pipelines.load(WEIGHTS / name)


def test_all_of_it_is_small_and_safe() -> None:
    files = [path for path in WEIGHTS.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 45_000_000
    assert {path.suffix for path in files} <= {".json", ".txt", ".safetensors", ".md"}


@pytest.mark.parametrize("name", NAMES)
def test_weights_are_half_precision_and_shared_parts_lie_with_demo_alone(name: str) -> None:
    files = sorted((WEIGHTS / name).rglob("*.safetensors"))
    assert files
    for file in files:
        with safe_open(str(file), "pt") as found:
            assert {found.get_slice(key).get_dtype() for key in found.keys()} == {"F16"}  # noqa: SIM118
    if name in PIPELINES:
        shared = json.loads((WEIGHTS / name / "shared.json").read_text())
        assert shared == dict.fromkeys(("text_encoder", "tokenizer", "vae", "scheduler"), "demo")
    assert not [part for part in ("text_encoder", "tokenizer", "vae", "scheduler") if (WEIGHTS / name / part).exists()]


@pytest.mark.parametrize("name", PIPELINES)
def test_plain_diffusers_loads_it_with_what_it_shares(name: str) -> None:
    pipe = pipeline(name)
    class_name, channels = PIPELINES[name]
    assert type(pipe).__name__ == class_name
    assert pipe.unet.config.in_channels == channels
    assert pipe.scheduler.config.prediction_type == "v_prediction"
    assert pipe.vae.config.scaling_factor == pytest.approx(0.94856)


def test_the_controlnet_fits_demo() -> None:
    pipe = pipeline("demo-controlnet")
    assert type(pipe).__name__ == "StableDiffusionControlNetPipeline"
    assert pipe.controlnet.config.cross_attention_dim == pipe.unet.config.cross_attention_dim
    assert len(pipe.controlnet.config.conditioning_embedding_out_channels) == 3  # two halvings: factor 4


def test_every_folder_has_a_card(root: Path) -> None:
    for name in NAMES:
        assert "license: apache-2.0" in (WEIGHTS / name / "README.md").read_text(encoding="utf-8")
        assert f"## {name}" in (root / "docs" / "demo-models.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_inpainted_figure_is_the_one_asked_for() -> None:
    found, _ = score_family.inpaint(pipeline("demo-inpaint"), 20)
    assert found["shape"] >= 0.85 and found["color"] >= 0.9 and found["background"] >= 0.9
    assert found["shape, not asked for"] <= 0.5


@pytest.mark.slow
def test_depth_is_kept_and_colours_are_new() -> None:
    found, rows = score_family.depth(pipeline("demo-depth"), 20)
    assert rows[1].std((0,)).mean() > 5  # an estimator that says the same of every picture keeps nothing
    assert found["estimator: figure nearer"] >= 0.9 and found["estimator: larger is nearer"] >= 0.8
    assert found["strength 1.0: figure nearer"] >= 0.85 and found["strength 1.0: shape"] >= 0.45
    assert found["strength 1.0: color"] >= 0.85 and found["strength 1.0: background"] >= 0.85


@pytest.mark.slow
def test_edges_give_the_shape_that_they_outline() -> None:
    found, _ = score_family.controlnet(pipeline("demo-controlnet"), 20)
    assert found["scale 1: shape"] >= 0.8 and found["scale 1: color"] >= 0.9
    assert found["scale 0: shape"] <= 0.5


@pytest.mark.slow
def test_the_upscaler_beats_bicubic() -> None:
    found, _ = score_family.upscaler(pipeline("demo-upscaler"), 20)
    assert found["whole: noise level 20"] > found["whole: bicubic"]
