"""Fine-tunes by name: where they are looked for, what is refused, and what of a value stands in an `id`."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from sdbatch.errors import ModelError
from sdbatch.sources import finetunes
from sdbatch.sources.finetunes import FineTuneSource
from sdbatch.sources.hashes import HashCache

STEM = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"


def put(path: Path, tensors: dict[str, torch.Tensor], **metadata: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path, metadata or None)
    return path


def lora(path: Path, value: float = 1.0) -> Path:
    halves = {"lora_down": torch.full((1, 4), value), "lora_up": torch.ones(4, 1)}
    return put(path, {f"{STEM}.{name}.weight": half for name, half in halves.items()})


def source(base: Path, home: Path | None = None) -> FineTuneSource:
    return FineTuneSource(base, HashCache(base / "cache"), home)


def test_by_path_and_by_name_beside_the_spec_and_one_folder_up(tmp_path: Path) -> None:
    base = tmp_path / "jobs"
    near, far = lora(base / "loras" / "near.safetensors"), lora(tmp_path / "loras" / "deep" / "far.safetensors", 2)
    found = source(base)
    assert found.find("lora", "loras/near.safetensors").path == near == found.find("lora", "near").path
    assert found.find("lora", "far").path == found.find("lora", "deep/far").path == far
    assert found.find("lora", "far").stem == "far"


def test_by_name_from_another_home_and_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lora(tmp_path / "spec" / "loras" / "a.safetensors")
    lora(tmp_path / "shelf" / "loras" / "b.safetensors")
    (tmp_path / "run").mkdir()
    with pytest.raises(ModelError, match=r"no a\.safetensors in loras/"):
        source(tmp_path / "run").find("lora", "a")
    assert source(tmp_path / "run", tmp_path / "spec").find("lora", "a").name == "a"
    monkeypatch.setenv("SDBATCH_MODELS", str(tmp_path / "shelf"))
    assert source(tmp_path / "run").find("lora", "b").name == "b"


def test_hashes_are_those_that_other_tools_print(tmp_path: Path) -> None:
    path = lora(tmp_path / "loras" / "a.safetensors")
    found = source(tmp_path).find("lora", "a")
    raw = path.read_bytes()
    start = 8 + int.from_bytes(raw[:8], "little")
    assert found.sha256 == hashlib.sha256(raw).hexdigest()
    assert found.short == hashlib.sha256(raw[start:]).hexdigest()[:12]
    assert found.format == "kohya"


@pytest.mark.parametrize("suffix", [".pt", ".bin", ".ckpt"])
def test_pickles_are_refused_with_what_converts_them(suffix: str, tmp_path: Path) -> None:
    (tmp_path / "embeddings").mkdir()
    (tmp_path / "embeddings" / f"a{suffix}").write_bytes(b"PK")
    for name in ("a", f"embeddings/a{suffix}"):
        with pytest.raises(ModelError, match=rf"pickles.*sdbatch models convert .*a{suffix}"):
            source(tmp_path).find("embedding", name)


def test_what_cannot_be_found_is_said_with_what_is_near(tmp_path: Path) -> None:
    lora(tmp_path / "loras" / "sketch.safetensors")
    with pytest.raises(ModelError, match=r"LoRA 'skech': no skech\.safetensors .* did you mean 'sketch'\?"):
        source(tmp_path).find("lora", "skech")
    lora(tmp_path / "loras" / "x" / "twin.safetensors")
    lora(tmp_path / "loras" / "y" / "twin.safetensors")
    with pytest.raises(ModelError, match="all have that name; name one by its path"):
        source(tmp_path).find("lora", "twin")


def test_a_file_of_another_kind(tmp_path: Path) -> None:
    lora(tmp_path / "embeddings" / "a.safetensors")
    put(tmp_path / "loras" / "b.safetensors", {"emb_params": torch.zeros(2, 4)})
    put(tmp_path / "loras" / "c.safetensors", {"lora_unet_x.hada_w1_a": torch.zeros(2, 2)})
    (tmp_path / "loras" / "d.safetensors").write_bytes(b"torn")
    found = source(tmp_path)
    for kind, name, says in (
        ("embedding", "a", "not a textual inversion embedding"),
        ("lora", "b", "holds no LoRA layers; the file holds emb_params"),
        ("lora", "c", "is a LoHa, which is not read"),
        ("lora", "d", "not a safetensors file"),
    ):
        with pytest.raises(ModelError, match=says):
            found.find(kind, name)


def test_the_words_of_embeddings(tmp_path: Path) -> None:
    put(tmp_path / "embeddings" / "one.safetensors", {"emb_params": torch.zeros(2, 4)})
    put(tmp_path / "embeddings" / "two.safetensors", {"<cat>": torch.zeros(4)})
    found = source(tmp_path)
    assert (found.find("embedding", "one").token, found.find("embedding", "two").token) == ("one", "<cat>")
    chosen = found.choose({"embeddings": [{"name": "one", "token": "sks"}, "two"]})
    assert [word for _, word in chosen.embeddings] == ["sks", "<cat>"]
    with pytest.raises(ModelError, match=r"both called up by '<cat>'"):
        found.choose({"embeddings": [{"name": "one", "token": "<cat>"}, "two"]})


def test_content_is_hashes_weights_and_words(tmp_path: Path) -> None:
    lora(tmp_path / "loras" / "a.safetensors")
    lora(tmp_path / "loras" / "b.safetensors", 2)
    find = source(tmp_path).find
    a, b = (find("lora", name).sha256 for name in "ab")

    def content(value: Any) -> Any:
        return finetunes.content("loras", value, find)

    assert content("a") == content(["a"]) == content([{"name": "a", "weight": 1}]) == [[a, 1.0]]
    assert content(["b", {"name": "a", "weight": 0.5}]) == [[b, 1.0], [a, 0.5]]  # sums of floats have an order
    assert content(None) is content([]) is None


@pytest.mark.parametrize(
    ("parameter", "value", "says"),
    [
        ("loras", 3, "neither a name nor"),
        ("loras", [{"weight": 1}], "`name` is missing"),
        ("loras", [{"name": "a", "strength": 1}], "'strength' is no key here"),
        ("loras", [{"name": "a", "weight": 11}], "weight 11 is not a number from -10 to 10"),
        ("loras", ["a", "a"], "'a' is named twice"),
        ("loras", [""], "is not the name of a file"),
        ("embeddings", [{"name": "a", "token": " "}], "is not a word"),
        ("hypernetwork", ["a"], "a list is not allowed here"),
    ],
)
def test_values_that_are_none(parameter: str, value: Any, says: str) -> None:
    assert says in (finetunes.problem(parameter, value) or "")


@pytest.mark.parametrize("value", [None, "a", [], ["a", {"name": "b", "weight": -0.5}]])
def test_values_that_are_some(value: Any) -> None:
    assert finetunes.problem("loras", value) is None
