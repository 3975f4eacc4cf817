"""Files that would leave a mark if anything in them ran: each is refused, and the mark is not there."""

from __future__ import annotations

import io
import json
import pickle
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from sdbatch import api
from sdbatch.errors import InputError, SdbatchError
from sdbatch.sources import depths, pictures


class Marker:
    """Makes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return Path.touch, (self.mark,)


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """Where a payload would leave its mark."""
    return tmp_path / "mark"


def pickled(mark: Path, form: str = "pickle") -> bytes:
    """A pickle as torch wrote it until 1.5, or in the zip that it writes since."""
    plain = pickle.dumps(Marker(mark), protocol=2)
    if form == "pickle":
        return plain
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", plain)
        archive.writestr("archive/version", "3\n")
    return file.getvalue()


def folder(path: Path, index: dict[str, Any] | None = None) -> Path:
    """A diffusers folder, sound but for its weights, which are no numbers: planning reads none."""
    parts = {"unet": ["diffusers", "UNet2DConditionModel"], "vae": ["diffusers", "AutoencoderKL"]}
    path.mkdir()
    whole = {"_class_name": "StableDiffusionPipeline", **parts, **(index or {})}
    (path / "model_index.json").write_text(json.dumps(whole))
    for part in parts:
        (path / part).mkdir()
        (path / part / "config.json").write_text("{}")
        (path / part / "diffusion_pytorch_model.safetensors").write_bytes(b"")
    return path


def code(path: Path, mark: Path) -> None:
    """A module that leaves its mark on import."""
    path.write_text(f"import pathlib; pathlib.Path({str(mark)!r}).touch()\nclass Net: pass\nclass Pipe: pass\n")


def told(tmp_path: Path, **spec: Any) -> str:
    """What is wrong with a job."""
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump({"prompt": "a star", **spec}))
    try:
        return "\n".join(str(problem) for problem in api.validate(path))
    except SdbatchError as error:
        return str(error)


def test_the_payloads_do_run_where_they_may(tmp_path: Path, mark: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pickle.loads(pickled(mark))
    assert mark.exists()
    mark.unlink()
    code(tmp_path / "payload_of_a_test.py", mark)
    monkeypatch.syspath_prepend(tmp_path)
    __import__("payload_of_a_test")
    sys.modules.pop("payload_of_a_test")
    assert mark.exists()


@pytest.mark.parametrize("form", ["pickle", "zip"])
@pytest.mark.parametrize("suffix", [".ckpt", ".pt", ".pth", ".bin"])
@pytest.mark.parametrize("key", ["model", "vae", "loras", "embeddings", "hypernetwork"])
def test_pickles_are_not_loaded(tmp_path: Path, mark: Path, key: str, suffix: str, form: str) -> None:
    (tmp_path / f"x{suffix}").write_bytes(pickled(mark, form))
    assert "which can run code" in told(tmp_path, **{key: f"x{suffix}"})
    assert not mark.exists()


@pytest.mark.parametrize("form", ["pickle", "zip"])
@pytest.mark.parametrize("key", ["model", "vae", "loras", "embeddings", "hypernetwork"])
def test_nor_under_the_name_of_safetensors(tmp_path: Path, mark: Path, key: str, form: str) -> None:
    (tmp_path / "x.safetensors").write_bytes(pickled(mark, form))
    assert "not a safetensors file" in told(tmp_path, **{key: "x.safetensors"})
    assert not mark.exists()


def test_nor_out_of_a_folder(tmp_path: Path, mark: Path) -> None:
    unet = folder(tmp_path / "m") / "unet"
    (unet / "diffusion_pytorch_model.safetensors").unlink()
    (unet / "diffusion_pytorch_model.bin").write_bytes(pickled(mark, "zip"))
    assert "a pickle, which can run code and is not read" in told(tmp_path, model="m")
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "config.json").write_text('{"_class_name": "ControlNetModel"}')
    (tmp_path / "c" / "diffusion_pytorch_model.bin").write_bytes(pickled(mark))
    assert "a pickle" in told(tmp_path, mode="controlnet", controlnet="c", control_image="x.png")
    assert not mark.exists()


def test_nor_in_a_depth_map(tmp_path: Path, mark: Path) -> None:
    np.save(tmp_path / "d.npy", np.array([[Marker(mark)]], object), allow_pickle=True)
    np.savez(tmp_path / "z.npz", np.array([[Marker(mark)]], object))
    (tmp_path / "p.npy").write_bytes(pickled(mark))
    (tmp_path / "z.npz").rename(tmp_path / "z.npy")
    for name in ("d.npy", "p.npy", "z.npy"):
        assert told(tmp_path, mode="depth2img", model="demo-depth", image="i.png", depth_image=name) == ""
        with pytest.raises(InputError):
            depths.read(tmp_path / name)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("index", "says"),
    [
        ({"unet": ["my_code", "Net"]}, "never a model's own code"),
        ({"unet": ["diffusers_modules.local.my_code", "Net"]}, "never a model's own code"),
        ({"unet": ["os", "system"]}, "never a model's own code"),
        ({"../m/unet": ["diffusers", "UNet2DConditionModel"]}, "no name of a folder"),
        ({"_class_name": ["my_code", "Pipe"]}, "never a model's own code"),
        ({"_class_name": "my_code.Pipe"}, "is of kind"),
    ],
)
def test_a_folders_own_code_is_not_run(tmp_path: Path, mark: Path, index: dict[str, Any], says: str) -> None:
    path = folder(tmp_path / "m", index)
    for place in (path, path / "unet", tmp_path):
        code(place / "my_code.py", mark)
    found = told(tmp_path, model="m")
    assert any(each in found for each in says.split("|")), found
    assert not mark.exists()


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json", "preprocessor_config.json"])
def test_auto_map_is_refused(tmp_path: Path, mark: Path, file: str) -> None:
    path = folder(tmp_path / "m")
    assert told(tmp_path, model="m") == "", "without it the folder is sound"
    code(path / "unet" / "my_code.py", mark)
    (path / "unet" / file).write_text(json.dumps({"auto_map": {"AutoModel": "my_code.Net"}, "trust_remote_code": True}))
    assert "asks for code of its own (auto_map)" in told(tmp_path, model="m")
    assert not mark.exists()


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, '{"sample_size": "x"}', '{"sample_size": 1e400}', '{"in_channels": []}', '{"sample_size": -8}',
     '{"sample_size": 99999999}', '{"sample_size": [1]}'],
)  # fmt: skip
def test_configurations_that_make_no_sense(tmp_path: Path, text: str) -> None:
    (folder(tmp_path / "m") / "unet" / "config.json").write_text(text)
    assert told(tmp_path, model="m")
    (tmp_path / "m" / "unet" / "config.json").write_text("{}")
    (tmp_path / "m" / "vae" / "config.json").write_text('{"block_out_channels": ' + str([0] * 10_000) + "}")
    assert "pixels a side" in told(tmp_path, model="m")


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def bomb(width: int, height: int, *chunks: bytes) -> bytes:
    """A PNG that says it has so many pixels; its data are zeros, packed a thousand to one."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(bytes(50 << 20), 9))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunks) + data + chunk(b"IEND", b"")


NOISE = b"\0" + zlib.compress(bytes(200 << 20), 9)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: bomb(100_000, 100_000), "more than 178 million pixels"),
        (lambda: bomb(2**31 - 1, 2**31 - 1), "more than 178 million pixels"),
        (lambda: bomb(64, 64, chunk(b"zTXt", b"a\0" + NOISE)), "Decompressed data too large"),
        (lambda: bomb(64, 64, chunk(b"iCCP", b"a\0" + NOISE)), "Decompressed data too large"),
        (lambda: bomb(64, 64, *(chunk(b"zTXt", b"a%d\0" % n + NOISE) for n in range(8))), "data too large"),
    ],
)
def test_bombs_in_pictures_stay_packed(tmp_path: Path, make: Callable[[], bytes], says: str) -> None:
    import tracemalloc

    (tmp_path / "x.png").write_bytes(make())
    assert told(tmp_path, mode="img2img", image="x.png") == "", "its rows fail, the others go on"
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=says):
            pictures.read(tmp_path / "x.png")
        used = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert used < 160 << 20
