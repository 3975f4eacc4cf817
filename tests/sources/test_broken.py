"""Broken pictures: whatever the bytes, an InputError of one line or a picture, and soon."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from sdbatch.errors import InputError
from sdbatch.sources import decode, depths, pictures

_RNG = np.random.default_rng(5)
RGB = _RNG.integers(0, 256, (24, 32, 3)).astype(np.uint8)
SOON = 5.0  # seconds; a hang, not a slow machine

Put = Any
# pytest has its own filters; that a run is quiet is tested below.
pytestmark = [pytest.mark.filterwarnings("ignore::UserWarning"), pytest.mark.filterwarnings("ignore::RuntimeWarning")]


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def samples() -> dict[str, bytes]:
    image = Image.fromarray(RGB)
    exif = Image.Exif()
    exif[0x0112] = 6
    deep = _RNG.integers(0, 65536, (24, 32, 3)).astype(np.uint16)
    return {
        "png": encoded(image, "PNG", exif=exif),
        "palette": encoded(image.quantize(16), "PNG", transparency=3),
        "png16": cv2.imencode(".png", deep)[1].tobytes(),
        "jpeg": encoded(image, "JPEG", exif=exif),
        "progressive": encoded(image, "JPEG", progressive=True),
        "cmyk": encoded(image.convert("CMYK"), "JPEG"),
        "webp": encoded(image, "WEBP", exif=exif),
        "tiff": encoded(image, "TIFF", exif=exif),
        "tiff16": cv2.imencode(".tif", deep)[1].tobytes(),
        "deflate": encoded(image, "TIFF", compression="tiff_adobe_deflate"),
        "gif": encoded(image, "GIF"),
        "bmp": encoded(image, "BMP"),
    }


SAMPLES = samples()


def outcome(path: Path) -> str:
    """The reason why a picture cannot be read, or nothing."""
    began = time.monotonic()
    said = ""
    for look in (decode.size, pictures.read, pictures.read_alpha, depths.read):
        try:
            look(path)
        except InputError as error:
            said = str(error)
            assert "\n" not in said and said.isprintable()
            assert said.startswith(f"{path}: ")
        if look is pictures.read:
            result = said
    assert time.monotonic() - began < SOON
    return result.removeprefix(f"{path}: ")


@pytest.mark.parametrize("kind", SAMPLES)
def test_a_picture_cut_short_anywhere(kind: str, put: Put) -> None:
    whole = SAMPLES[kind]
    assert outcome(put(whole)) == ""
    for length in {*range(0, 64), *range(64, len(whole) // 2, 37), len(whole) // 2, len(whole) - len(whole) // 8}:
        said = outcome(put(whole[:length]))
        assert said.startswith(("is cut short", "is broken", "is not a picture", "is empty")), (length, said)


@pytest.mark.parametrize("kind", ["png", "jpeg", "gif", "tiff"])
def test_a_picture_that_lacks_its_half_is_cut_short(kind: str, put: Put) -> None:
    assert outcome(put(SAMPLES[kind][: len(SAMPLES[kind]) // 2])).startswith("is cut short")


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(sorted(SAMPLES)),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=8),
    head=st.booleans(),
    cut=st.none() | st.floats(0, 1),
)
def test_any_bytes(kind: str, changes: list[tuple[float, int]], head: bool, cut: float | None, put: Put) -> None:
    data = bytearray(SAMPLES[kind])
    for place, value in changes:
        data[int(place * (min(len(data), 256) if head else len(data)))] = value
    outcome(put(bytes(data[: None if cut is None else int(cut * len(data))])))


def test_what_is_no_picture(put: Put) -> None:
    for data in (
        b"a text, named .png or not",
        b"\x89PNG\r\n\x1a\n",
        b"%!PS-Adobe-3.0 EPSF-3.0\n",
        b"<svg/>",
        b"\0" * 4096,
    ):
        assert outcome(put(data)).startswith("is not a picture that can be read (PNG, JPEG,")


def test_a_wrong_checksum_is_seen(put: Put) -> None:
    data = bytearray(SAMPLES["png"])
    data[data.index(b"IDAT") + 20] ^= 1
    assert outcome(put(bytes(data))).startswith("is broken")


@pytest.mark.parametrize(("width", "height"), [(30_000, 30_000), (178_000_001, 1), (2**31 - 1, 2**31 - 1)])
def test_a_small_file_that_would_be_huge_is_refused_by_its_header(width: int, height: int, put: Put, png: Any) -> None:
    path = put(png(2, 8, [b"\0" * 30], width, height=height))
    assert outcome(path) == "has more than 178 million pixels"
    with pytest.raises(InputError, match="178 million"):
        decode.size(path)


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF", "WEBP", "JPEG"])
def test_other_formats_that_would_be_huge(kind: str, put: Put, tiff: Any) -> None:
    if kind == "TIFF":
        data = tiff(RGB, t256=40_000)
        at = data.index(struct.pack("<HHII", 257, 4, 1, 24))
        data = data[:at] + struct.pack("<HHII", 257, 4, 1, 40_000) + data[at + 12 :]
    else:
        data = encoded(Image.fromarray(RGB), kind, **({"lossless": True} if kind == "WEBP" else {}))
        sizes = {"GIF": "<HH", "BMP": "<ii", "JPEG": ">HH"}
        if kind == "WEBP":  # VP8L: 14 bits of width - 1, then of height - 1
            old, new = struct.pack("<I", 31 | 23 << 14), struct.pack("<I", 16382 | 16382 << 14)
        else:
            sides = (24, 32) if kind == "JPEG" else (32, 24)
            old, new = struct.pack(sizes[kind], *sides), struct.pack(sizes[kind], 65_000, 65_000)
        assert old in data
        data = data.replace(old, new, 1)
    assert outcome(put(data)) == "has more than 178 million pixels"


def test_a_text_that_unpacks_without_end_does_no_harm(put: Put, png: Any) -> None:
    import zlib

    bomb = b"comment\0\0" + zlib.compress(b"x" * 200_000_000, 9)
    path = put(png(2, 8, [row.tobytes() for row in RGB], 32, before=((b"zTXt", bomb),)))
    assert outcome(path) in ("", "is broken: Decompressed data too large for PngImagePlugin.MAX_TEXT_CHUNK")


def test_many_threads_read_at_once(put: Put, tmp_path: Path) -> None:
    paths = []
    for kind in ("png", "png16", "jpeg", "webp", "tiff16", "gif"):
        path = tmp_path / kind
        path.write_bytes(SAMPLES[kind])
        (tmp_path / f"{kind}-cut").write_bytes(SAMPLES[kind][: len(SAMPLES[kind]) // 2])
        paths += [path, tmp_path / f"{kind}-cut"]
    alone = {path: result(path) for path in paths}
    with ThreadPoolExecutor(8) as pool:
        for path, found in zip(paths * 40, pool.map(result, paths * 40), strict=True):
            assert np.array_equal(found, alone[path])


def result(path: Path) -> Any:
    try:
        return pictures.read(path)
    except InputError as error:
        return str(error)


def test_nothing_is_said_beside_the_error(tmp_path: Path) -> None:
    """Pillow warns of broken EXIF and of large pictures; a run's standard error stays the run's own."""
    (tmp_path / "exif.jpg").write_bytes(encoded(Image.fromarray(RGB), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff"))
    Image.new("1", (10_000, 10_000)).save(tmp_path / "large.png")
    code = (
        "import sys; from pathlib import Path; from sdbatch.sources import decode, pictures\n"
        "pictures.read(Path(sys.argv[1], 'exif.jpg')); decode.size(Path(sys.argv[1], 'large.png'))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stderr == ""
