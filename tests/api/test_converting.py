"""Pickles become safetensors with the same bits, in another process, and none is ever obeyed."""

from __future__ import annotations

import json
import os
import pickle
import sys
import types
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from sdbatch.api.converting import convert
from sdbatch.errors import ModelError, UsageError
from sdbatch.sources.finetunes import FineTuneSource
from sdbatch.sources.hashes import HashCache
from sdbatch.sources.models import ModelSource

pytestmark = pytest.mark.slow  # each starts a process that imports torch


def one(path: Path, **options: Any) -> Path:
    (made,) = convert(path, **options)
    return made


def weights() -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    half = torch.randn((3, 4), generator=draw).half()
    return {
        "model.diffusion_model.a": half,
        "cond_stage_model.shared": half,  # the same memory twice
        "model_ema.a": torch.randn((5,), generator=draw).bfloat16(),
        "first_stage_model.turned": torch.randn((4, 3), generator=draw).T,  # not in order
        "first_stage_model.view": torch.arange(10)[2:5],  # a piece of a larger one
        "number": torch.tensor(7),
    }


def assert_holds(path: Path, wanted: dict[str, torch.Tensor]) -> dict[str, str]:
    found = load_file(str(path))
    assert set(found) == set(wanted)
    for key, tensor in wanted.items():
        assert found[key].dtype == tensor.dtype and torch.equal(found[key], tensor), key
    with safe_open(str(path), "pt") as opened:
        notes: dict[str, str] = opened.metadata()
    return notes


@pytest.mark.parametrize("new", [True, False])
def test_a_checkpoint_becomes_safetensors(new: bool, tmp_path: Path) -> None:
    source = tmp_path / "old.ckpt"
    held = {"epoch": 3, "global_step": 470000, "optimizer_states": [{"x": torch.zeros(2)}], "state_dict": weights()}
    torch.save(held, source, _use_new_zipfile_serialization=new)
    made = one(source)
    assert made == tmp_path / "old.safetensors"
    assert assert_holds(made, weights()) == {"format": "pt", "epoch": "3", "global_step": "470000"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["old.ckpt", "old.safetensors"]


def test_a_flat_file_and_its_target(tmp_path: Path) -> None:
    torch.save({**weights(), "note": "kept out"}, tmp_path / "flat.pt")
    made = one(tmp_path / "flat.pt", to=tmp_path / "other.safetensors")
    assert assert_holds(made, weights())["format"] == "pt"


def test_what_is_there_is_not_overwritten(tmp_path: Path) -> None:
    torch.save(weights(), tmp_path / "a.pt")
    (tmp_path / "a.safetensors").write_bytes(b"mine")
    with pytest.raises(UsageError, match="exists already; --force overwrites it"):
        one(tmp_path / "a.pt")
    assert (tmp_path / "a.safetensors").read_bytes() == b"mine"
    assert_holds(one(tmp_path / "a.pt", force=True), weights())


class Evil:
    """Runs a command when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.mark}",)


@pytest.mark.parametrize("form", ["torch", "legacy", "pickle", "zip"])
def test_a_pickle_that_would_run_code_is_refused_and_runs_nothing(form: str, tmp_path: Path) -> None:
    mark, source = tmp_path / "ran", tmp_path / "evil.ckpt"
    held = {"state_dict": weights(), "evil": Evil(mark)}
    if form in ("torch", "legacy"):
        torch.save(held, source, _use_new_zipfile_serialization=form == "torch")
    elif form == "pickle":
        source.write_bytes(pickle.dumps(Evil(mark)))
    else:  # put where another reader would look first
        with zipfile.ZipFile(source, "w") as archive:
            archive.writestr("archive/data.pkl", pickle.dumps(Evil(mark), protocol=2))
            archive.writestr("archive/version", "3\n")
    with pytest.raises(ModelError, match=r"system, which is no weight|holds more than weights") as caught:
        one(source)
    assert "\n" not in str(caught.value) and "weights_only" not in str(caught.value)
    assert "nothing of it was run" in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["evil.ckpt"], "nothing ran, nothing was written"
    pickle.loads(pickle.dumps(Evil(mark)))
    assert mark.exists(), "the pickle does run code where it may"


def test_a_trainers_notes_are_stood_in_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "pytorch_lightning.callbacks.model_checkpoint"
    for part in ("pytorch_lightning", "pytorch_lightning.callbacks", name):
        monkeypatch.setitem(sys.modules, part, types.ModuleType(part))
    kind = type("ModelCheckpoint", (), {"__module__": name})
    monkeypatch.setattr(sys.modules[name], "ModelCheckpoint", kind, raising=False)
    torch.save({"callbacks": {kind: {"best": 1}}, "state_dict": weights()}, tmp_path / "v1.ckpt")
    assert_holds(one(tmp_path / "v1.ckpt"), weights())


def test_a_module_of_the_working_directory_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torch.py").write_text("raise SystemExit('imported')", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    torch.save(weights(), "a.pt")
    assert_holds(one(Path("a.pt")), weights())


@pytest.mark.parametrize(
    ("data", "says"),
    [(b"", "no file of weights"), (b"not a pickle", "no file of weights"), (b"PK\x03\x04torn", "no file of weights")],
)
def test_a_broken_file_is_said(data: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / "a.ckpt").write_bytes(data)
    with pytest.raises(ModelError, match=says) as caught:
        one(tmp_path / "a.ckpt")
    assert "\n" not in str(caught.value) and "Traceback" not in str(caught.value)


@pytest.mark.parametrize("held", [[1, 2], {"a": 1}, {1: torch.zeros(1)}, {"a": {"b": {"c": torch.zeros(1)}}}])
def test_a_file_without_named_tensors_is_said(held: Any, tmp_path: Path) -> None:
    torch.save(held, tmp_path / "a.pt")
    with pytest.raises(ModelError, match="it holds no tensors by name"):
        one(tmp_path / "a.pt")


def test_a_folder_converts_part_by_part(tiny: Any, tmp_path: Path) -> None:
    folder = tiny.sd(tmp_path / "model")
    before = ModelSource(tmp_path, cache=HashCache(tmp_path)).resolve("model")
    bits = {file: load_file(str(file)) for file in folder.rglob("*.safetensors")}
    for file, tensors in bits.items():
        name = file.name.replace("model.safetensors", "pytorch_model.bin").replace(
            "diffusion_pytorch_pytorch_", "diffusion_pytorch_"
        )
        torch.save(tensors, file.with_name(name))
        file.unlink()
    torch.save({"lr": 1}, folder / "unet" / "optimizer.bin")
    made = list(convert(folder))
    assert set(made) == set(bits)
    for file, tensors in bits.items():
        assert_holds(file, tensors)
    after = ModelSource(tmp_path, cache=HashCache(tmp_path)).resolve("model")
    assert (after.kind, after.parts) == (before.kind, before.parts)
    with pytest.raises(UsageError, match="nothing to convert; its parts are safetensors already"):
        list(convert(folder))
    with pytest.raises(UsageError, match="--to is for one file"):
        list(convert(folder, to=tmp_path / "x.safetensors"))


def test_shards_and_their_index(tiny: Any, tmp_path: Path) -> None:
    from sdbatch.render.checkpoints import components

    folder = tiny.sd(tmp_path / "model")
    source = ModelSource(tmp_path, cache=HashCache(tmp_path))
    whole = components(source.resolve("model"), torch.float32)["unet"].state_dict()
    part = folder / "unet"
    (part / "diffusion_pytorch_model.safetensors").unlink()
    keys = sorted(whole)
    names = ["diffusion_pytorch_model-00001-of-00002.bin", "diffusion_pytorch_model-00002-of-00002.bin"]
    shards = {names[0]: keys[::2], names[1]: keys[1::2]}
    for name, held in shards.items():
        torch.save({key: whole[key] for key in held}, part / name)
    index = {"metadata": {}, "weight_map": {key: name for name, held in shards.items() for key in held}}
    (part / "diffusion_pytorch_model.bin.index.json").write_text(json.dumps(index), encoding="utf-8")
    assert len(list(convert(folder))) == 3
    found = components(ModelSource(tmp_path, cache=HashCache(tmp_path)).resolve("model"), torch.float32)["unet"]
    assert all(torch.equal(whole[key], tensor) for key, tensor in found.state_dict().items())


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("none.ckpt", "no such file or folder"),
        ("a.safetensors", "not one of .ckpt .pt .pth .bin"),
        ("empty", "nothing to"),
    ],
)
def test_what_cannot_be_converted_is_said(name: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=says):
        list(convert(tmp_path / name))


def test_a_target_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    torch.save(weights(), tmp_path / "a.pt")
    with pytest.raises(UsageError, match="no such folder"):
        one(tmp_path / "a.pt", to=tmp_path / "none" / "a.safetensors")
    with pytest.raises(UsageError, match="name it so"):
        one(tmp_path / "a.pt", to=tmp_path / "a.bin")


def test_a_hypernetwork(tmp_path: Path) -> None:
    network = {"linear.0.weight": torch.ones(64, 64), "linear.0.bias": torch.zeros(64)}
    held = {64: (network, network), "name": "style", "step": 7, "activation_func": "relu", "layer_structure": [1, 1]}
    torch.save(held, tmp_path / "style.pt")
    made = one(tmp_path / "style.pt")
    wanted = {f"64.{half}.{name}": tensor for half in "kv" for name, tensor in network.items()}
    notes = assert_holds(made, wanted)
    assert {"name": "style", "activation_func": "relu", "layout": "sdbatch hypernetwork 1"}.items() <= notes.items()
    found = FineTuneSource(tmp_path, HashCache(tmp_path)).find("hypernetwork", "style.safetensors")
    assert found.path == made
    torch.save({**held, "activation_func": "mine"}, tmp_path / "odd.pt")
    with pytest.raises(ModelError, match="mine") as caught:
        one(tmp_path / "odd.pt")
    assert "\n" not in str(caught.value)


def test_an_embedding(tmp_path: Path) -> None:
    torch.save({"string_to_param": {"*": torch.ones(2, 64)}, "name": "word"}, tmp_path / "word.pt")
    made = one(tmp_path / "word.pt")
    assert_holds(made, {"emb_params": torch.ones(2, 64)})
    torch.save({"<cat>": torch.ones(64)}, tmp_path / "learned_embeds.bin")
    assert_holds(one(tmp_path / "learned_embeds.bin"), {"<cat>": torch.ones(64)})
    source = FineTuneSource(tmp_path, HashCache(tmp_path))
    assert source.find("embedding", "word.safetensors").format == "a1111"
    assert source.find("embedding", "learned_embeds.safetensors").token == "<cat>"
