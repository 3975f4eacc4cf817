"""The texts of any picture: where tools put them, and files that mean harm."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import struct
import time
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from sdbatch.errors import InputError
from sdbatch.store import carried, images

Put = Callable[..., Path]
PIXELS = np.zeros((8, 8, 3), np.uint8)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(*chunks: bytes) -> bytes:
    """A picture with more chunks before its pixels."""
    plain = images.plain("mask", PIXELS)
    return plain[:33] + b"".join(chunks) + plain[33:]


@pytest.fixture
def put(tmp_path: Path) -> Put:
    def _put(data: bytes, name: str = "a.png") -> Path:
        path = tmp_path / name
        path.write_bytes(data)
        return path

    return _put


def test_every_kind_of_text_chunk(put: Put) -> None:
    packed = zlib.compress("né🎈".encode())
    path = put(
        png(
            chunk(b"tEXt", b"parameters\0caf\xe9"),
            chunk(b"zTXt", b"prompt\0\0" + zlib.compress(b"caf\xe9")),
            chunk(b"iTXt", b"a\0\0\0en\0key\0" + "né🎈\0!".encode()),
            chunk(b"iTXt", b"b\0\1\0\0\0" + packed),
            chunk(b"tEXt", b"parameters\0second"),
            chunk(b"prIv", b"x"),
        )
    )
    assert carried.texts(path) == {"parameters": "café", "prompt": "café", "a": "né🎈\0!", "b": "né🎈"}


def test_texts_behind_the_pixels(put: Put) -> None:
    plain = images.plain("mask", PIXELS)
    assert carried.texts(put(plain[:-12] + chunk(b"tEXt", b"a\0b") + plain[-12:])) == {"a": "b"}


@pytest.mark.parametrize("format", ["png", "webp", "jpeg"])
@pytest.mark.parametrize("length", [10, 100_000])
def test_what_sdbatch_writes(put: Put, format: str, length: int) -> None:
    texts = images.Texts("é" * length, '{"a":"' + "x" * length + '"}')
    found = carried.texts(put(images.encode(PIXELS, format, None, texts)))
    assert found == {"parameters": texts.parameters, "sdbatch": texts.sdbatch}


def test_comfyui_in_webp(put: Put) -> None:
    exif = Image.Exif()
    exif[0x0110], exif[0x010F] = 'prompt:{"a": 1}', "workflow:{}"
    sink = io.BytesIO()
    Image.fromarray(PIXELS).save(sink, "WEBP", exif=exif)
    assert carried.texts(put(sink.getvalue())) == {"prompt": '{"a": 1}', "workflow": "{}"}


def test_pillow_agrees(put: Put) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("a", "x", zip=True)
    info.add_itxt("b", "שלום", zip=True)
    sink = io.BytesIO()
    Image.fromarray(PIXELS).save(sink, "PNG", pnginfo=info)
    assert carried.texts(put(sink.getvalue())) == {"a": "x", "b": "שלום"}


def test_a_bomb_is_not_unpacked(put: Put) -> None:
    bomb = zlib.compress(b"\0" * (512 << 20), 9)
    path = put(png(chunk(b"zTXt", b"parameters\0\0" + bomb)))
    tracemalloc.start()
    with pytest.raises(InputError, match="larger than 4 MiB"):
        carried.texts(path)
    assert tracemalloc.get_traced_memory()[1] < 64 << 20
    tracemalloc.stop()


def test_texts_have_an_end_together(put: Put) -> None:
    with pytest.raises(InputError, match="larger than 4 MiB"):
        carried.texts(put(png(chunk(b"tEXt", b"a\0" + b"x" * (5 << 20)))))
    with pytest.raises(InputError, match="larger than 4 MiB"):
        carried.texts(put(png(*(chunk(b"tEXt", b"%d\0" % n + b"x" * (1 << 20)) for n in range(5)))))


def test_a_pickle_is_a_text_like_any_other(put: Put, tmp_path: Path) -> None:
    mark = tmp_path / "mark"

    class Payload:
        def __reduce__(self) -> Any:
            return os.system, (f"touch {mark}",)

    payload = pickle.dumps(Payload())
    for kind, data in ((b"tEXt", payload), (b"zTXt", b"\0" + zlib.compress(payload)), (b"iTXt", b"\0\0\0\0" + payload)):
        assert carried.texts(put(png(chunk(kind, b"parameters\0" + data)))).keys() == {"parameters"}
    assert not mark.exists()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "empty"),
        (b"GIF89a", "not a PNG, JPEG or WebP"),
        (b"RIFF1234WAVEfmt ", "not a PNG, JPEG or WebP"),
        (png(chunk(b"zTXt", b"a\0\0garbage")), "broken"),
    ],
)
def test_what_cannot_be_read_is_said(put: Put, data: bytes, said: str) -> None:
    with pytest.raises(InputError, match=said):
        carried.texts(put(data))


def test_odd_chunks_end_the_reading(put: Put) -> None:
    assert carried.texts(put(png(struct.pack(">I", 2**32 - 1) + b"prIv"))) == {}
    assert carried.texts(put(png(chunk(b"tEXt", b"a\0b"))[:40])) == {}
    endless = images.plain("mask", PIXELS)[:33] + chunk(b"prIv", b"") * 300_000
    begun = time.monotonic()
    assert carried.texts(put(endless)) == {}
    assert time.monotonic() - begun < 5


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.data())
def test_broken_files_are_read_or_refused(put: Put, data: st.DataObject) -> None:
    format = data.draw(st.sampled_from(["png", "webp", "jpeg"]))
    whole = bytearray(images.encode(PIXELS, format, None, images.Texts("é" * 300, '{"a":1}')))
    for _ in range(data.draw(st.integers(0, 5))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path = put(bytes(whole[: data.draw(st.integers(0, len(whole)))]))
    for look in (carried.texts, carried.lossless):
        with contextlib.suppress(InputError):
            look(path)


def test_which_files_are_lossless(put: Put) -> None:
    texts = images.Texts("a", "")
    kinds = {("png", None): True, ("webp", None): True, ("webp", 80): False, ("jpeg", None): False}
    for (format, quality), expected in kinds.items():
        assert carried.lossless(put(images.encode(PIXELS, format, quality, texts))) is expected
    assert carried.lossless(put(images.encode(PIXELS, "webp", None, images.Texts("", "")))) is True
