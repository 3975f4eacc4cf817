"""Folders of parts: which files are read, and what is said where weights are missing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hubmodel import lone

from sdbatch.errors import ModelError
from sdbatch.sources.hashes import HashCache
from sdbatch.sources.models import ModelSource


def lay_out(folder: Path) -> Path:
    """A folder with a UNet alone."""
    (folder / "unet").mkdir(parents=True)
    index = {"_class_name": "StableDiffusionPipeline", "unet": ["diffusers", "UNet2DConditionModel"]}
    (folder / "model_index.json").write_text(json.dumps(index), encoding="utf-8")
    (folder / "unet" / "config.json").write_text("{}", encoding="utf-8")
    (folder / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"weights")
    return folder


def source(tmp_path: Path) -> ModelSource:
    return ModelSource(tmp_path, cache=HashCache(tmp_path / "cache"))


def digest(tmp_path: Path, name: str = "model") -> str:
    return source(tmp_path).resolve(name).hash


@pytest.mark.parametrize(("class_name", "kind"), [("ControlNetModel", "controlnet"), ("AutoencoderKL", "vae")])
def test_a_lone_part(class_name: str, kind: str, tmp_path: Path) -> None:
    folder = lone(tmp_path / "part", class_name)
    found = source(tmp_path).resolve("part")
    assert (found.kind, found.size, found.layout, found.parts) == (kind, (0, 0), "part", {kind: folder})
    (folder / "diffusion_pytorch_model.safetensors").write_bytes(b"others")
    assert digest(tmp_path, "part") != found.hash


def test_another_lone_part_is_refused(tmp_path: Path) -> None:
    lone(tmp_path / "part", "UNet2DConditionModel")
    with pytest.raises(
        ModelError, match=r"holds a lone UNet2DConditionModel; .* a ControlNetModel or AutoencoderKL or CLIPModel"
    ):
        source(tmp_path).resolve("part")


def test_where_there_is_only_fp16_it_is_what_counts(tmp_path: Path) -> None:
    folder = lay_out(tmp_path / "model")
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    half = weights.rename(weights.with_suffix(".fp16.safetensors"))
    before = digest(tmp_path)
    half.write_bytes(b"others")
    assert digest(tmp_path) != before


def shards(folder: Path, mark: str = "") -> Path:
    """A UNet's weights in two shards, of which the second is missing; `mark` is `.fp16` or nothing."""
    (folder / "diffusion_pytorch_model.safetensors").unlink(missing_ok=True)
    names = [f"diffusion_pytorch_model{mark}-0000{number}-of-00002.safetensors" for number in (1, 2)]
    (folder / names[0]).write_bytes(b"weights")
    index = {"metadata": {}, "weight_map": dict(zip("ab", names, strict=True))}
    (folder / f"diffusion_pytorch_model.safetensors.index{mark}.json").write_text(json.dumps(index), encoding="utf-8")
    return folder / names[1]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda unet: None, r"unet has no weights \(\.safetensors\)"),
        (
            lambda unet: (unet / "weights.bin").write_bytes(b""),
            r"unet is there only as weights\.bin, a pickle.*models convert .*/model makes",
        ),
        (shards, r"unet/diffusion_pytorch_model-00002-of-00002\.safetensors is missing; .*index\.json names it"),
        (lambda unet: shards(unet, ".fp16"), r"model\.fp16-00002-of-00002\.safetensors is missing; .*fp16\.json names"),
    ],
)
def test_a_folder_whose_weights_are_not_there(change: Callable[[Path], object], says: str, tmp_path: Path) -> None:
    unet = lay_out(tmp_path / "model") / "unet"
    (unet / "diffusion_pytorch_model.safetensors").unlink()
    change(unet)
    with pytest.raises(ModelError, match=says):
        source(tmp_path).resolve("model")


@pytest.mark.parametrize("mark", ["", ".fp16"])
def test_a_folder_with_all_shards(mark: str, tmp_path: Path) -> None:
    shards(lay_out(tmp_path / "model") / "unet", mark).write_bytes(b"more weights")
    before = digest(tmp_path)
    shards(tmp_path / "model" / "unet", mark).write_bytes(b"other weights")
    assert digest(tmp_path) != before


def test_a_lone_parts_licence_does_not_change_its_hash(tmp_path: Path) -> None:
    folder = lone(tmp_path / "model", "ControlNetModel")
    before = digest(tmp_path)
    (folder / "LICENSE.txt").write_text("free", encoding="utf-8")
    assert digest(tmp_path) == before
