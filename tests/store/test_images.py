"""Picture files: pixels and texts there and back, and what an independent reader makes of them."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from sd_parsers import ParserManager

from sdbatch.errors import RowError
from sdbatch.store.images import Texts, encode, pixel_sha256, read_texts
from sdbatch.store.metadata import parameters_text, sdbatch_json

FORMATS = ("png", "webp", "jpeg")
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
ODD = 'say "hi", (a:1.3)\nNegative prompt: b\r\n\tשלום 🎈\0\x1b\ufffe<x>&amp;\\n'


def pixels(height: int = 24, width: int = 40, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def decode(data: bytes) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def texts(prompt: str, negative: str = "") -> Texts:
    params: dict[str, Any] = {"prompt": prompt, "negative_prompt": negative, "steps": 20, "seed": 7}
    params |= {"scheduler": "euler_a", "guidance_scale": 4.0, "width": 40, "height": 24}
    return Texts(parameters_text(params, "demo", "0123456789ab", "0.1.0"), sdbatch_json("i", "r", params, "", "", ""))


@pytest.mark.parametrize(("format", "quality"), [("png", None), ("png", 50), ("webp", None), ("webp", 100)])
@pytest.mark.parametrize("shape", [(1, 1), (24, 40), (65, 63)])
def test_lossless_files_hold_every_bit(format: str, quality: int | None, shape: tuple[int, int]) -> None:
    made = pixels(*shape)
    found = decode(encode(made, format, quality, texts("x")))
    assert pixel_sha256(found) == pixel_sha256(made)
    assert np.array_equal(found, made)


def test_a_lossy_file_does_not() -> None:
    made = pixels()
    for format, quality in (("jpeg", None), ("jpeg", 100), ("webp", 99)):
        assert pixel_sha256(decode(encode(made, format, quality, texts("x")))) != pixel_sha256(made)


def test_texts_do_not_touch_pixels_of_jpeg() -> None:
    few, many = (decode(encode(pixels(), "jpeg", None, texts("x" * n))) for n in (1, 100_000))
    assert np.array_equal(few, many)


def test_jpeg_keeps_colour_at_full_resolution_and_quality_counts() -> None:
    data = encode(pixels(), "jpeg", None, texts("x"))
    with Image.open(io.BytesIO(data)) as image:
        assert {(h, v) for _, h, v, _ in image.layer} == {(1, 1)}
    assert len(encode(pixels(), "jpeg", 20, texts("x"))) < len(data)


def test_not_contiguous_pixels() -> None:
    made = pixels()[::2, ::-1]
    assert np.array_equal(decode(encode(made, "png", None, texts("x"))), made)
    assert pixel_sha256(made) == pixel_sha256(made.copy())


def test_pixel_sha256_sees_one_bit_and_is_golden() -> None:
    made = pixels()
    other = made.copy()
    other[3, 4, 1] ^= 1
    assert pixel_sha256(made) != pixel_sha256(other)
    zeros = np.zeros((1, 1, 3), np.uint8)
    assert pixel_sha256(zeros) == "709e80c88487a2411e1ee4dfb9f22a861492d20c4765150c0c794abd70f8147c"


@pytest.mark.parametrize("format", FORMATS)
@settings(max_examples=150, deadline=None)
@given(parameters=ANY_TEXT, prompt=ANY_TEXT)
@example(parameters=ODD, prompt=ODD)
@example(parameters="", prompt="x")
@example(parameters="Steps: 1", prompt="\x7f\x80\xff")
def test_texts_come_back(format: str, parameters: str, prompt: str) -> None:
    given_texts = Texts(parameters, sdbatch_json("i", "r", {"prompt": prompt}, "", "", ""))
    assert read_texts(encode(pixels(8, 8), format, None, given_texts)) == given_texts


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("length", [16_000, 22_000, 31_000, 33_000, 60_000, 100_000, 300_000])
@pytest.mark.parametrize("letter", ["x", "é", "🎈"])
def test_long_prompts_come_back_whole(format: str, length: int, letter: str) -> None:
    long = texts(letter * (length // len(letter.encode())), ODD)
    data = encode(pixels(), format, None, long)
    assert read_texts(data) == long
    assert decode(data).shape == (24, 40, 3)


@pytest.mark.parametrize("length", range(65_000 // 2 - 400, 65_000 // 2 + 400, 7))
def test_the_edge_of_an_exif_segment(length: int) -> None:
    edge = Texts("x" * length, '{"a":1}')
    assert read_texts(encode(pixels(8, 8), "jpeg", None, edge)) == edge


_READ: list[Image.Image] = []
"""Pictures that sd-parsers has read: it remembers the last by its id(), which a new one may have after it is gone."""


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("negative", ["", "blurry, dark"])
@pytest.mark.parametrize("prompt", ["a red circle", 'two, "quoted": (x:1.3)\nsecond line', "красный 🎈 שלום"])
def test_an_independent_reader_agrees(format: str, prompt: str, negative: str) -> None:
    data = encode(pixels(), format, None, texts(prompt, negative))
    with Image.open(io.BytesIO(data)) as image:
        _READ.append(image)
        found = ParserManager().parse(image)
    assert found is not None
    (sampler,) = found.samplers
    assert [item.value for item in sampler.prompts] == [prompt]
    assert [item.value for item in sampler.negative_prompts] == ([negative] if negative else [])
    assert sampler.name == "Euler a"
    assert sampler.parameters == {"steps": "20", "seed": "7", "cfg_scale": "4"}
    assert sampler.model is not None and (sampler.model.name, sampler.model.hash) == ("demo", "0123456789")
    assert found.metadata["Size"] == "40x24"


def test_the_independent_reader_finds_nothing_where_nothing_is() -> None:
    data = encode(pixels(), "png", None, Texts("", ""))
    with Image.open(io.BytesIO(data)) as image:
        assert ParserManager().parse(image) is None


@pytest.mark.parametrize("format", FORMATS)
def test_no_texts_read_as_none(format: str) -> None:
    assert read_texts(encode(pixels(), format, None, Texts("", ""))) is None


@pytest.mark.parametrize("format", FORMATS)
def test_a_text_alone(format: str) -> None:
    for alone in (Texts("Steps: 1", ""), Texts("", "{}")):
        assert read_texts(encode(pixels(), format, None, alone)) == alone


@pytest.mark.parametrize("format", FORMATS)
def test_a_lone_surrogate_costs_a_letter_not_the_row(format: str) -> None:
    found = read_texts(encode(pixels(), format, None, Texts("a\ud83d", '{"a":"\ud83d é"}')))
    assert found is not None and found.parameters == "a?"
    assert json.loads(found.sdbatch) == {"a": "? é"}


@pytest.mark.parametrize("format", FORMATS)
def test_broken_files_read_as_none_or_less(format: str) -> None:
    data = encode(pixels(), format, None, texts("x" * 100_000))
    rng = np.random.default_rng(0)
    for _ in range(60):
        broken = bytearray(data[: rng.integers(len(data))])
        for at in rng.integers(0, max(1, len(broken)), 20):
            broken[at : at + 1] = bytes([rng.integers(256)])
        read_texts(bytes(broken))
    assert read_texts(b"") is None
    assert read_texts(b"GIF89a nothing") is None


def test_texts_of_other_tools() -> None:
    exif = Image.Exif()
    exif[0x010E] = "A day at the sea"
    exif.get_ifd(0x8769)[0x9286] = b"ASCII\0\0\0Steps: 3"
    buffer = io.BytesIO()
    Image.fromarray(pixels()).save(buffer, "JPEG", exif=exif)
    assert read_texts(buffer.getvalue()) == Texts("Steps: 3", "")


def test_an_entity_in_xmp_is_not_expanded() -> None:
    data = encode(pixels(), "jpeg", None, texts("x" * 100_000))
    assert read_texts(data.replace(b"<x:xmpmeta", b"<!ENTITY a")) is None


def test_what_cannot_be_encoded() -> None:
    with pytest.raises(RowError, match="16383"):
        encode(np.zeros((8, 16384, 3), np.uint8), "webp", None, texts("x"))
    with pytest.raises(ValueError, match="gif"):
        encode(pixels(), "gif", None, texts("x"))
    for wrong in (np.zeros((8, 8), np.uint8), np.zeros((8, 8, 4), np.uint8), np.zeros((8, 8, 3), np.float32)):
        with pytest.raises(ValueError, match="uint8"):
            encode(wrong, "png", None, texts("x"))
        with pytest.raises(ValueError, match="uint8"):
            pixel_sha256(wrong)
