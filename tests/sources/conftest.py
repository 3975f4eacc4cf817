"""Input files for tests, also of kinds that Pillow reads but does not write."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hubmodel import LEFT, NAME, WANTED
from PIL import Image

Tiff = Callable[..., bytes]
Png = Callable[..., bytes]
Icc = Callable[..., bytes]
Put = Callable[..., Path]


def _tiff(samples: Any, order: str = "<", **tags: int) -> bytes:
    """An uncompressed TIFF 6.0 of one strip (a plane, where PlanarConfiguration is 2); `t262=5` sets tag 262."""
    samples = np.asarray(samples)
    height, width = samples.shape[:2]
    many = 1 if samples.ndim == 2 else samples.shape[2]
    given = {int(name[1:]): value for name, value in tags.items()}
    bits = given.pop(258, samples.dtype.itemsize * 8)
    width = given.pop(256, width)
    data = samples.astype(samples.dtype.newbyteorder(order))
    apart = given.get(284) == 2
    planes = [data[..., at].tobytes() for at in range(many)] if apart else [data.tobytes()]
    starts = [8 + sum(len(plane) for plane in planes[:at]) for at in range(len(planes))]
    fields: dict[int, tuple[str, list[int]]] = {
        256: ("I", [width]), 257: ("I", [height]), 258: ("H", [bits] * many), 259: ("H", [1]),
        262: ("H", [2 if many >= 3 else 1]), 273: ("I", starts), 277: ("H", [many]), 278: ("I", [height]),
        279: ("I", [len(plane) for plane in planes]),
    }  # fmt: skip
    fields |= {tag: ("H", [value] * (many if tag == 339 else 1)) for tag, value in given.items()}
    body = b"".join(planes) + b"\0" * (sum(map(len, planes)) % 2)
    start = 8 + len(body)
    entries, rest = b"", b""
    for tag, (kind, values) in sorted(fields.items()):
        raw = struct.pack(f"{order}{len(values)}{kind}", *values)
        if len(raw) > 4:
            place = start + 6 + 12 * len(fields) + len(rest)
            rest += raw + b"\0" * (len(raw) % 2)
            raw = struct.pack(order + "I", place)
        entries += struct.pack(order + "HHI", tag, {"H": 3, "I": 4}[kind], len(values)) + raw.ljust(4, b"\0")
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", start)
    return head + body + struct.pack(order + "H", len(fields)) + entries + bytes(4) + rest


def _png(
    colour: int,
    depth: int,
    rows: list[bytes],
    width: int,
    before: tuple[tuple[bytes, bytes], ...] = (),
    after: tuple[tuple[bytes, bytes], ...] = (),
    height: int | None = None,
) -> bytes:
    """A PNG of unfiltered rows, with chunks before and after the pixels."""
    head = struct.pack(">IIBBBBB", width, len(rows) if height is None else height, depth, colour, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    chunks = [(b"IHDR", head), *before, (b"IDAT", data), *after, (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    )


def _icc(space: str, gamma: float, primaries: str = "rgb") -> bytes:
    """An ICC profile (version 2.4, ICC.1:2001) of sRGB's primaries in any order, or grey, with one gamma."""
    s15 = {
        "r": (0.43607, 0.22249, 0.01392), "g": (0.38515, 0.71687, 0.09708), "b": (0.14307, 0.06061, 0.71410),
        "white": (0.9642, 1.0, 0.8249),
    }  # fmt: skip

    def xyz(name: str) -> bytes:
        return b"XYZ " + bytes(4) + b"".join(struct.pack(">i", round(value * 65536)) for value in s15[name])

    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)
    tags = {b"wtpt": xyz("white")}
    if space == "GRAY":
        tags[b"kTRC"] = curve
    else:
        tags |= {name.encode() + b"XYZ": xyz(of) for name, of in zip("rgb", primaries, strict=True)}
        tags |= {name.encode() + b"TRC": curve for name in "rgb"}
    table, body = struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        table += name + struct.pack(">II", 128 + 4 + 12 * len(tags) + len(body), len(data))
        body += data
    head = struct.pack(">I4sI4s4s4s", 0, bytes(4), 0x02400000, b"mntr", space.ljust(4).encode(), b"XYZ ")
    head += bytes(12) + b"acsp" + bytes(28) + b"".join(struct.pack(">i", round(v * 65536)) for v in s15["white"])
    whole = head.ljust(128, b"\0") + table + body
    return struct.pack(">I", len(whole)) + whole[4:]


@pytest.fixture
def tiff() -> Tiff:
    """Bytes of an uncompressed TIFF: `tiff(samples, order, t262=5, …)`."""
    return _tiff


@pytest.fixture
def png() -> Png:
    """Bytes of a PNG: `png(colour type, bit depth, rows, width, before=chunks, after=chunks)`."""
    return _png


@pytest.fixture
def icc() -> Icc:
    """Bytes of an ICC profile: `icc("RGB" or "GRAY", gamma, primaries)`."""
    return _icc


@pytest.fixture
def put(tmp_path: Path) -> Put:
    """Write a file: bytes, or an image in a format of Pillow's."""

    def write(what: bytes | Image.Image, kind: str = "PNG", **options: Any) -> Path:
        path = tmp_path / "picture"  # the name's end says nothing
        if isinstance(what, bytes):
            path.write_bytes(what)
        else:
            what.save(path, kind, **options)
        return path

    return write


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache's folder of the repository; no token is known."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("HF_TOKEN", raising=False)
    return tmp_path / "cache" / "models--owner--tiny"


@pytest.fixture
def empty_hub(fakehub: Any, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A hub with nothing in it, which may be asked."""
    with fakehub.serve() as hub:
        fakehub.reach(monkeypatch, hub.url)
        yield hub


@pytest.fixture
def hub(empty_hub: Any) -> Any:
    """A hub with one model, which may be asked."""
    empty_hub.put(NAME, {**WANTED, **LEFT})
    return empty_hub
