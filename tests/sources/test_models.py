"""Model names: what they lead to, what they hash to, and what is said where they lead nowhere."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hubmodel import lone

from sdbatch.errors import ModelError
from sdbatch.sources.hashes import HashCache
from sdbatch.sources.models import EMBEDDED, ModelSource, embedded

COMMITS = ("a1" * 20, "b2" * 20)
SHARED = {"text_encoder", "tokenizer", "vae"}
INDEX: dict[str, Any] = {
    "_class_name": "StableDiffusionPipeline",
    "safety_checker": [None, None],
    "scheduler": ["diffusers", "DDIMScheduler"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}


def lay_out(folder: Path, weights: bytes = b"weights", channels: int = 4, **index: Any) -> Path:
    """A diffusers folder with tiny files."""
    files: dict[str, Any] = {
        "model_index.json": {**INDEX, **index},
        "scheduler/scheduler_config.json": {},
        "unet/config.json": {"sample_size": 16, "in_channels": channels},
        "vae/config.json": {"block_out_channels": [1, 1, 1]},
    }
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
    (folder / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(weights)
    (folder / "vae" / "diffusion_pytorch_model.safetensors").write_bytes(b"vae")
    return folder


def source(tmp_path: Path, **options: Any) -> ModelSource:
    return ModelSource(tmp_path, cache=HashCache(tmp_path / "cache"), **options)


def digest(tmp_path: Path, name: str = "model") -> str:
    return source(tmp_path).resolve(name).hash


def test_a_folder_below_the_spec(tmp_path: Path) -> None:
    lay_out(tmp_path / "models" / "mine")
    found = source(tmp_path).resolve("models/mine")
    assert (found.name, found.path, found.revision) == ("models/mine", tmp_path / "models" / "mine", None)
    assert (found.kind, found.size, found.layout) == ("sd", (64, 64), "diffusers")
    assert found.parts == {part: found.path / part for part in ("scheduler", "unet", "vae")}
    assert len(found.hash) == 64


def test_the_embedded_model() -> None:
    assert "demo" in embedded()
    found = ModelSource(Path("/nowhere")).resolve("demo")
    assert (found.path, found.kind, found.size) == (EMBEDDED / "demo", "sd", (64, 64))


@pytest.mark.parametrize(
    ("name", "kind", "shared"),
    [
        ("demo-inpaint", "sd-inpaint", SHARED),
        ("demo-depth", "sd-depth", SHARED),
        ("demo-upscaler", "sd-upscale", SHARED),
        ("demo-controlnet", "controlnet", set()),
    ],
)
def test_the_embedded_family(name: str, kind: str, shared: set[str]) -> None:
    assert name in embedded()
    found = ModelSource(Path("/nowhere")).resolve(name)
    assert (found.path, found.kind) == (EMBEDDED / name, kind)
    assert {part for part, folder in found.parts.items() if folder.parent == EMBEDDED / "demo"} >= shared


@pytest.mark.parametrize(
    ("class_name", "channels", "kind"),
    [
        ("StableDiffusionPipeline", 4, "sd"),
        ("StableDiffusionInpaintPipeline", 9, "sd-inpaint"),
        ("StableDiffusionDepth2ImgPipeline", 5, "sd-depth"),
        ("StableDiffusionUpscalePipeline", 7, "sd-upscale"),
        ("StableDiffusionPipeline", 6, "sd-6-channels"),
        ("StableDiffusionXLPipeline", 4, "sdxl"),
        ("FluxPipeline", 4, "FluxPipeline"),
        ("", 4, "unknown"),
    ],
)
def test_kinds(class_name: str, channels: int, kind: str, tmp_path: Path) -> None:
    lay_out(tmp_path / "model", channels=channels, _class_name=class_name)
    found = source(tmp_path).resolve("model")
    assert found.kind == kind


def add(name: str, data: bytes) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)

    return change


@pytest.mark.parametrize(
    "change",
    [
        add("unet/diffusion_pytorch_model.safetensors", b"weightS"),
        add("scheduler/scheduler_config.json", b'{"beta_end": 0.1}'),
        add("model_index.json", json.dumps({**INDEX, "x": 1}).encode()),
        add("unet/more.safetensors", b""),
        lambda folder: (folder / "vae" / "diffusion_pytorch_model.safetensors").rename(
            folder / "vae" / "v.safetensors"
        ),
    ],
)
def test_what_decides_pixels_changes_the_hash(change: Callable[[Path], object], tmp_path: Path) -> None:
    folder = lay_out(tmp_path / "model")
    before = digest(tmp_path)
    change(folder)
    assert digest(tmp_path) != before


@pytest.mark.parametrize(
    "change",
    [
        add("README.md", b"# Hello"),
        add("unet/README.md", b"# Hello"),
        add("v1-5-pruned.safetensors", b"the whole model once more"),
        add("unet/diffusion_pytorch_model.fp16.safetensors", b"half"),
        add("unet/diffusion_pytorch_model.bin", b"pickle"),
        add("safety_checker/config.json", b"{}"),
        lambda folder: folder.rename(folder.with_name("elsewhere")),
    ],
)
def test_what_decides_no_pixel_does_not_change_the_hash(change: Callable[[Path], object], tmp_path: Path) -> None:
    folder = lay_out(tmp_path / "model")
    before = digest(tmp_path)
    change(folder)
    assert digest(tmp_path, "model" if folder.exists() else "elsewhere") == before


def test_a_model_is_looked_up_once(tmp_path: Path) -> None:
    folder = lay_out(tmp_path / "model")
    models = source(tmp_path)
    first = models.resolve("model")
    (folder / "model_index.json").unlink()
    assert models.resolve("model") is first
    assert models.found() == [first]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("demo-none", r"no such embedded model; there are: .*demo"),
        ("weights.ckpt", r"pickles, which can run code"),
        ("a/b.bin", r"pickles, which can run code"),
        ("single.safetensors", "single.safetensors: not a safetensors file"),
        ("none.safetensors", "no such file"),
        ("none", r"no such folder \(.*/none\), and not a Hugging Face id \(owner/name\) or one of .*demo"),
        ("./no/ne", "no such folder"),
        ("empty", r"empty.model_index\.json is missing; a diffusers folder has it"),
        ("torn", r"unet.config\.json cannot be read"),
        ("list", r"model_index\.json is not a JSON object"),
    ],
)
def test_what_is_no_model_is_said(name: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "single.safetensors").write_bytes(b"")
    (tmp_path / "weights.ckpt").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    (lay_out(tmp_path / "torn") / "unet" / "config.json").write_text("{", encoding="utf-8")
    (lay_out(tmp_path / "list") / "model_index.json").write_text("[]", encoding="utf-8")
    with pytest.raises(ModelError, match=says) as caught:
        source(tmp_path).resolve(name)
    assert str(caught.value).startswith(f"model {name!r}: ")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub cache with one model at two commits, of which `main` is the second."""
    from huggingface_hub import constants

    home = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home))
    repo = home / "models--owner--tiny"
    for commit in COMMITS:
        lay_out(repo / "snapshots" / commit, weights=commit.encode())
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(COMMITS[1], encoding="utf-8")
    return home


@pytest.mark.parametrize(("revision", "commit"), [(None, COMMITS[1]), ("main", COMMITS[1]), (COMMITS[0], COMMITS[0])])
def test_a_hub_model_is_found_in_the_cache(revision: str | None, commit: str, hub: Path, tmp_path: Path) -> None:
    found = source(tmp_path).resolve("owner/tiny", revision)
    assert found.path == hub / "models--owner--tiny" / "snapshots" / commit
    assert (found.name, found.revision, found.kind) == ("owner/tiny", commit, "sd")


def test_a_directory_keeps_the_commit_that_it_began_with(hub: Path, tmp_path: Path) -> None:
    pinned = source(tmp_path, pins={"owner/tiny": COMMITS[0]})
    assert pinned.resolve("owner/tiny").revision == COMMITS[0]
    assert pinned.resolve("owner/tiny", "main").revision == COMMITS[1]
    first, second = (source(tmp_path).resolve("owner/tiny", commit).hash for commit in COMMITS)
    assert first != second


def test_a_hub_model_hashes_as_the_same_folder_does(hub: Path, tmp_path: Path) -> None:
    lay_out(tmp_path / "copy", weights=COMMITS[1].encode())
    assert digest(tmp_path, "owner/tiny") == digest(tmp_path, "copy")


@pytest.mark.parametrize(("name", "revision"), [("owner/none", None), ("owner/tiny", "c3" * 20), ("owner/tiny", "v2")])
def test_a_hub_model_that_is_not_there_is_said(name: str, revision: str | None, hub: Path, tmp_path: Path) -> None:
    says = rf"^model '{name}': .*is not in the local cache, and HF_HUB_OFFLINE is set; .* sdbatch models pull {name}"
    with pytest.raises(ModelError, match=says):
        source(tmp_path).resolve(name, revision)


def test_a_folder_comes_before_a_hub_model_of_that_name(hub: Path, tmp_path: Path) -> None:
    lay_out(tmp_path / "owner" / "tiny")
    assert source(tmp_path).resolve("owner/tiny").revision is None


@pytest.fixture
def family(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Embedded models of which `demo-two` shares demo's VAE and scheduler, and `demo-control` is a lone part."""
    home = tmp_path / "weights"
    monkeypatch.setattr("sdbatch.sources.models.EMBEDDED", home)
    lay_out(home / "demo")
    lay_out(home / "demo-two", weights=b"other", channels=9)
    for part in ("vae", "scheduler"):
        shutil.rmtree(home / "demo-two" / part)
    (home / "demo-two" / "shared.json").write_text('{"vae": "demo", "scheduler": "demo"}', encoding="utf-8")
    lone(home / "demo-control", "ControlNetModel")
    return home


def test_an_embedded_model_shares_parts(family: Path, tmp_path: Path) -> None:
    assert embedded() == ["demo", "demo-control", "demo-two"]
    found = source(tmp_path).resolve("demo-two")
    assert (found.kind, found.size) == ("sd-inpaint", (64, 64))
    assert found.parts == {
        "scheduler": family / "demo" / "scheduler",
        "unet": family / "demo-two" / "unet",
        "vae": family / "demo" / "vae",
    }
    whole = shutil.copytree(family / "demo-two", tmp_path / "whole")
    for part in ("vae", "scheduler"):
        shutil.copytree(family / "demo" / part, whole / part)
    (whole / "shared.json").unlink()
    assert digest(tmp_path, "whole") == found.hash, "where the files lie is not what they are"
    (family / "demo" / "vae" / "diffusion_pytorch_model.safetensors").write_bytes(b"another")
    assert digest(tmp_path, "demo-two") != found.hash


def test_only_embedded_models_share_parts(family: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(family / "demo-two", tmp_path / "demo-three")
    shutil.copytree(family / "demo", tmp_path / "demo")
    with pytest.raises(ModelError, match=r"demo-three.(vae|scheduler) is missing; model_index\.json names it"):
        source(tmp_path).resolve("./demo-three")
    assert folder.is_dir()


@pytest.mark.parametrize(
    ("index", "kind"),
    [
        ({"_class_name": "StableDiffusionXLImg2ImgPipeline", "text_encoder": [None, None]}, "sdxl-refiner"),
        ({"_class_name": "StableDiffusionLatentUpscalePipeline"}, "sd-latent-upscale"),
    ],
)
def test_kinds_by_more_than_channels(index: dict[str, Any], kind: str, tmp_path: Path) -> None:
    lay_out(tmp_path / "model", **index)
    assert source(tmp_path).resolve("model").kind == kind
