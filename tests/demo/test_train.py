"""Training runs end to end, and goes on from a checkpoint as if it had never stopped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from stopping import Interrupted, stop_after

from sdbatch.demo import score, train

pytestmark = pytest.mark.slow

SCENES = 512  # the scale of the latents is measured on this many


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def run(folder: Path, vae_steps: int = 3, unet_steps: int = 3) -> Path:
    """Train in `folder`; the folder of the written model."""
    counts = {"--scenes": SCENES, "--batch": 8, "--vae-steps": vae_steps, "--unet-steps": unet_steps, "--threads": 1}
    words = [word for name, value in counts.items() for word in (name, str(value))]
    train.main(["--work", str(folder / "work"), "--out", str(folder / "out"), *words])
    return folder / "out" / "demo"


def weights(model: Path) -> dict[str, torch.Tensor]:
    files = sorted(model.glob("*/*.safetensors"))
    assert {file.parent.name for file in files} == {"vae", "unet", "text_encoder"}
    return {f"{file.parent.name}/{key}": value for file in files for key, value in load_file(str(file)).items()}


def assert_same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    assert [key for key in a if not torch.equal(a[key], b[key])] == []


def test_writes_a_folder_that_plain_diffusers_loads(tmp_path: Path) -> None:
    model = run(tmp_path)
    assert {value.dtype for value in weights(model).values() if value.is_floating_point()} == {torch.float16}
    pictures = score.Painter(model, steps=2).paint(["a red circle", "a blue star"], [1, 2], guidance=4.0)
    assert pictures.shape == (2, 64, 64, 3) and pictures.dtype == np.uint8


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    """The weights of a run that nothing interrupted."""
    return weights(run(tmp_path_factory.mktemp("straight")))


@pytest.mark.parametrize(("stage", "step"), [("vae", 2), ("text", 1), ("unet", 1), ("unet", 3)])
def test_an_interrupted_run_ends_where_an_uninterrupted_one_does(
    straight: dict[str, torch.Tensor], tmp_path: Path, stage: str, step: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, stage, step)
        with pytest.raises(Interrupted):
            run(tmp_path / "broken")
    assert not (tmp_path / "broken" / "out").exists()
    assert_same(weights(run(tmp_path / "broken")), straight)


def test_more_steps_go_on_from_the_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = weights(run(tmp_path))
    taken: list[tuple[str, int]] = []
    rate = train.Loop._rate

    def noted(self: Any) -> float:
        taken.append((self.name, self.step))
        return rate(self)

    monkeypatch.setattr(train.Loop, "_rate", noted)
    more = weights(run(tmp_path, unet_steps=5))
    assert taken == [("unet", 3), ("unet", 4)]
    unchanged = {key for key in first if torch.equal(first[key], more[key])}
    assert {key for key in first if key.startswith("vae/")} <= unchanged
    assert any(key.startswith("unet/") and key not in unchanged for key in first)
