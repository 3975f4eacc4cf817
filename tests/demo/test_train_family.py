"""The family's training runs end to end, goes on from a checkpoint as if never stopped, and writes its folders."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from stopping import Interrupted, stop_after

from sdbatch.demo import family, train_family

STAGES = ("inpaint", "estimator", "depth", "controlnet", "upscaler")


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = torch.get_num_threads()
    monkeypatch.setattr(train_family, "BATCH", 4)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def base() -> family.Base:
    return family.Base()


def run(folder: Path, *stages: str, steps: int = 3) -> Path:
    """Train in `folder`; where the models are written."""
    counts = {"--scenes": 16, "--steps": steps, "--threads": 1}
    words = [word for name, value in counts.items() for word in (name, str(value))]
    train_family.main([*stages, "--work", str(folder / "work"), "--out", str(folder / "out"), *words])
    return folder / "out"


def weights(out: Path) -> dict[str, torch.Tensor]:
    files = sorted(out.rglob("*.safetensors"))
    return {f"{file.relative_to(out)}/{key}": value for file in files for key, value in load_file(str(file)).items()}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stages", "stop"),
    [
        (("inpaint",), ("inpaint", 2)),
        (("estimator", "depth"), ("estimator", 1)),
        (("estimator", "depth"), ("depth", 2)),
        (("controlnet",), ("controlnet", 1)),
        (("upscaler",), ("upscaler", 3)),
    ],
)
def test_an_interrupted_run_ends_where_an_uninterrupted_one_does(
    tmp_path: Path, stages: tuple[str, ...], stop: tuple[str, int]
) -> None:
    straight = weights(run(tmp_path / "straight", *stages))
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, *stop)
        with pytest.raises(Interrupted):
            run(tmp_path / "broken", *stages)
    assert not (tmp_path / "broken" / "out").exists()
    again = weights(run(tmp_path / "broken", *stages))
    assert straight and straight.keys() == again.keys()
    assert [key for key in straight if not torch.equal(straight[key], again[key])] == []


@pytest.mark.slow
def test_training_changes_the_averaged_weights_and_export_writes_them(tmp_path: Path, base: family.Base) -> None:
    out = run(tmp_path, "controlnet", steps=2)
    before = train_family.made("controlnet", base, 0).half().state_dict()
    after = load_file(str(out / "demo-controlnet" / "diffusion_pytorch_model.safetensors"))
    assert {value.dtype for value in after.values()} == {torch.float16}
    assert [key for key in after if not torch.equal(after[key], before[key])]
    again = tmp_path / "again"
    train_family.main(["--export", "--work", str(tmp_path / "work"), "--out", str(again)])
    assert all(torch.equal(value, weights(out)[key]) for key, value in weights(again).items())


@pytest.mark.slow
def test_depth_asks_for_the_estimator(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="estimator first"):
        run(tmp_path, "depth", steps=1)


def test_export_without_checkpoints_writes_nothing(tmp_path: Path) -> None:
    train_family.main(["--export", "--work", str(tmp_path / "work"), "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("name", "channels"), [("inpaint", 9), ("depth", 5), ("upscaler", 7)])
def test_widened_networks_begin_as_demo_whatever_the_new_channels_hold(
    base: family.Base, name: str, channels: int
) -> None:
    unet = train_family.made(name, base, 0).eval()
    x, more = torch.randn(2, 4, 16, 16), torch.randn(2, channels - 4, 16, 16)
    t, hidden = torch.tensor([10, 700]), torch.randn(2, 77, 128)
    given = {"class_labels": torch.tensor([3, 200])} if name == "upscaler" else {}
    with torch.no_grad():
        wide = unet(torch.cat([x, more], 1), t, encoder_hidden_states=hidden, **given).sample
        plain = base.unet(x, t, encoder_hidden_states=hidden).sample
    assert torch.allclose(wide, plain, atol=1e-4)


def test_the_controlnet_begins_as_nothing_and_shares_no_weights_with_demo(base: family.Base) -> None:
    net = train_family.made("controlnet", base, 0).eval()
    with torch.no_grad():
        down, middle = net(
            torch.randn(1, 4, 16, 16),
            torch.tensor([5]),
            encoder_hidden_states=torch.randn(1, 77, 128),
            controlnet_cond=torch.rand(1, 3, 64, 64),
            return_dict=False,
        )
    assert not middle.any() and not any(part.any() for part in down)
    own = {weight.data_ptr() for weight in base.unet.parameters()}
    assert not own & {weight.data_ptr() for weight in net.parameters()}


def test_the_estimator_takes_pictures_as_the_extractor_makes_them() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (100, 80, 3), np.uint8)
    seen = family.make_extractor()(images=picture, return_tensors="pt").pixel_values
    assert seen.shape == (1, 3, 64, 64) and -1 <= seen.min() < -0.5 and 0.5 < seen.max() <= 1
    with torch.no_grad():
        assert family.make_estimator()(seen).predicted_depth.shape[0] == 1


def test_a_folder_names_what_it_shares(tmp_path: Path, base: family.Base) -> None:
    parts = {"unet": ("diffusers", train_family.made("depth", base, 0))}
    family.write(tmp_path / "x", "StableDiffusionDepth2ImgPipeline", parts)
    assert json.loads((tmp_path / "x" / "shared.json").read_text()) == dict.fromkeys(family.SHARED, "demo")
    index = json.loads((tmp_path / "x" / "model_index.json").read_text())
    assert index["_class_name"] == "StableDiffusionDepth2ImgPipeline"
    assert index["unet"] == ["diffusers", "UNet2DConditionModel"] and index["vae"] == ["diffusers", "AutoencoderKL"]
    assert sorted(folder.name for folder in (tmp_path / "x").iterdir() if folder.is_dir()) == ["unet"]
