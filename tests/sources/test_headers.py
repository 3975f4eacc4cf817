"""Headers of safetensors files: read without the weights, and not believed."""

from __future__ import annotations

import json
import struct
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sdbatch.sources import headers


def file(path: Path, header: Any, data: bytes = b"", length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return path


def entry(shape: list[int], begin: int, end: int, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def test_shapes_texts_and_where_the_tensors_begin(tmp_path: Path) -> None:
    header = {"a": entry([2, 3], 0, 24), "b": entry([], 24, 26, "F16"), "__metadata__": {"k": "v", "n": 3}}
    found = headers.read(path := file(tmp_path / "f", header, bytes(26)))
    assert (found.shapes, found.metadata) == ({"a": (2, 3), "b": ()}, {"k": "v"})
    assert found.start == path.stat().st_size - 26


@pytest.mark.parametrize(
    ("header", "data", "says"),
    [
        (b"not json", b"", "not JSON"),
        (b"[1, 2]", b"", "not a JSON object"),
        (b"[" * 60_000, b"", "not JSON"),
        ({"a": 1}, b"", "does not describe 'a'"),
        ({"a": entry([2], 0, 4)}, bytes(8), "contradicts itself about 'a'"),
        ({"a": entry([-2], 0, -8)}, bytes(8), "contradicts itself about 'a'"),
        ({"a": entry([2], 0, 8, "COMPLEX")}, bytes(8), "does not describe 'a'"),
        ({"a": entry([2**62, 2**62], 0, 8)}, bytes(8), "contradicts itself about 'a'"),
        ({"a": entry([2], 0, 8)}, bytes(5), "torn: it ends before 'a' does"),
    ],
)
def test_what_is_no_whole_file(header: Any, data: bytes, says: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=says):
        headers.read(file(tmp_path / "f", header, data))


@pytest.mark.parametrize("length", [0, 1, 2**63, 100_000_001, 500])
def test_a_length_that_cannot_be(length: int, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not a safetensors file"):
        headers.read(file(tmp_path / "f", {}, length=length))


def test_a_pickle_under_a_wrong_name(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"PK\x03\x04" + bytes(100))
    with pytest.raises(ValueError, match=r"not a safetensors file\Z"):
        headers.read(tmp_path / "f")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "f").write_bytes(raw)
    with suppress(ValueError):  # and nothing else
        headers.read(tmp_path / "f")
