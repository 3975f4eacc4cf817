"""A model's own safety checker: a tiny one, whose concepts are set so that what it flags is known."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray

from sdbatch import api
from sdbatch.errors import ModelError
from sdbatch.render import safety
from sdbatch.render.safety import Checkers, Safety
from sdbatch.sources.models import EMBEDDED
from sdbatch.types import Render

RENDER = Render(1, 1, "float32", "cpu", "sdpa", False, False, "auto", "degrade")
RED, BLUE = np.zeros((48, 40, 3), np.uint8), np.zeros((48, 40, 3), np.uint8)
RED[..., 0] = 255
BLUE[..., 2] = 255


def save(folder: Path, threshold: float | NDArray[np.uint8], pickle: bool = False) -> Path:
    """A checker of random weights.

    Args:
        threshold: what similarity flags any picture, -2 all and 2 none; or a picture, which then is the concept.
    """
    from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
    from transformers import CLIPConfig, CLIPImageProcessorPil

    torch.manual_seed(0)
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    vision = {**small, "image_size": 32, "patch_size": 8, "projection_dim": 8}
    made = StableDiffusionSafetyChecker(CLIPConfig(vision_config=vision, text_config=small, projection_dim=8)).eval()
    extractor = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    torch.nn.init.normal_(made.visual_projection.weight)
    made.special_care_embeds_weights.data.fill_(2)
    if isinstance(threshold, np.ndarray):
        seen = extractor(threshold, return_tensors="pt").pixel_values
        with torch.no_grad():
            made.concept_embeds.data[:] = made.visual_projection(made.vision_model(seen)[1])
        threshold = 0.999
    made.concept_embeds_weights.data.fill_(threshold)
    made.save_pretrained(folder / "safety_checker")
    extractor.save_pretrained(folder / "feature_extractor")
    if pickle:
        (folder / "safety_checker" / "model.safetensors").unlink()
        torch.save(made.state_dict(), folder / "safety_checker" / "pytorch_model.bin")
    return folder


def test_it_flags_the_pictures_that_are_like_its_concepts(tmp_path: Path) -> None:
    checker = Safety(save(tmp_path, RED), "cpu", "float32")
    before = RED.copy()
    assert checker.check([RED, BLUE, RED]) == [True, False, True]
    assert checker.check([BLUE]) == [False]
    assert np.array_equal(RED, before)


@pytest.mark.parametrize(("threshold", "expected"), [(-2.0, "flagged"), (2.0, "safe")])
def test_the_threshold_decides(threshold: float, expected: str, tmp_path: Path) -> None:
    path = save(tmp_path, threshold)
    assert safety.present(path)
    assert Checkers(RENDER).verdict(path, BLUE) == expected


def test_no_checker_no_verdict_and_the_next_model_is_asked_again(tmp_path: Path) -> None:
    path = save(tmp_path / "with", -2.0)
    bare = EMBEDDED / "demo"
    assert not safety.present(bare)
    checkers = Checkers(RENDER)
    assert [checkers.verdict(at, RED) for at in (bare, path, bare, path)] == [None, "flagged", None, "flagged"]


def test_a_checker_is_loaded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[Path] = []
    original = Safety.__init__

    def init(self: Safety, path: Path, device: str, dtype: str) -> None:
        loads.append(path)
        original(self, path, device, dtype)

    monkeypatch.setattr(Safety, "__init__", init)
    checkers, path = Checkers(RENDER), save(tmp_path, 2.0)
    assert not loads
    assert {checkers.verdict(path, picture) for picture in (RED, BLUE)} == {"safe"}
    assert loads == [path]


def test_a_pickle_is_not_read(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="its safety checker cannot be loaded"):
        Safety(save(tmp_path, -2.0, pickle=True), "cpu", "float32")


def test_a_checker_of_half_precision_alone(tmp_path: Path) -> None:
    checker = save(tmp_path, -2.0) / "safety_checker"
    (checker / "model.safetensors").rename(checker / "model.fp16.safetensors")
    assert Safety(tmp_path, "cpu", "float32").check([RED]) == [True]


def test_a_checker_that_is_not_whole(tmp_path: Path) -> None:
    save(tmp_path, -2.0)
    (tmp_path / "safety_checker" / "model.safetensors").write_bytes(b"no")
    with pytest.raises(ModelError, match="its safety checker cannot be loaded"):
        Safety(tmp_path, "cpu", "float32")
    shutil.rmtree(tmp_path / "feature_extractor")
    with pytest.raises(ModelError, match="its safety checker cannot be loaded"):
        Safety(tmp_path, "cpu", "float32")


@pytest.mark.slow
def test_a_whole_run(run_job: Callable[..., api.RunReport], tmp_path: Path) -> None:
    """The demo model with a checker beside it: the same pixels, and verdicts, or failures."""
    model = tmp_path / "model"
    shutil.copytree(EMBEDDED / "demo", model)
    save(model, -2.0)
    job = {"prompt": "a star", "steps": 1, "grid": {"seed": [1, 2]}}
    found = {}
    for name, more in {"plain": {}, "flag": {"model": str(model), "safety": "flag"}}.items():
        assert run_job({**job, **more}, tmp_path / name).made == 2
        found[name] = pd.read_parquet(tmp_path / name / "manifest").sort_values("seed")
    assert list(found["flag"].pixel_sha256) == list(found["plain"].pixel_sha256)
    assert set(found["flag"].safety) == {"flagged"} and found["plain"].safety.isna().all()
    report = run_job({**job, "model": str(model), "safety": "drop"}, tmp_path / "drop")
    assert (report.made, report.failed) == (0, 2)
    failures = pd.read_parquet(tmp_path / "drop" / "failures")
    assert set(failures.error) == {"FlaggedError"} and not list((tmp_path / "drop").glob("images/*"))


def test_a_model_without_one_is_said_once(run_job: Callable[..., api.RunReport], tmp_path: Path) -> None:
    run_job({"prompt": "a star", "steps": 1, "safety": "flag"}, tmp_path / "run")
    log = (tmp_path / "run" / "log.jsonl").read_text()
    assert log.count('"event": "note"') == 1 and "'demo' has no safety checker" in log
    assert pd.read_parquet(tmp_path / "run" / "manifest").safety.isna().all()
