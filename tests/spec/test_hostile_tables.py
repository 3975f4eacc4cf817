"""Tables that mean harm: wrong types are told by column and row, broken files as such, and bombs stay packed."""

from __future__ import annotations

import datetime
import decimal
import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sdbatch import api
from sdbatch.errors import SdbatchError
from sdbatch.spec import parquet

MOMENT = datetime.datetime(2024, 1, 2)


def told(path: Path, data: bytes) -> str:
    """What is wrong with a bare table; empty where nothing is."""
    path.write_bytes(data)
    try:
        return "\n".join(str(problem) for problem in api.validate(path))
    except SdbatchError as error:
        return str(error)


def packed(columns: dict[str, Any], **options: Any) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("columns", "part"),
    [
        ({"seed": pa.array([MOMENT])}, "seed: a column of timestamp[us] is not whole numbers"),
        ({"seed": pa.array([datetime.timedelta(1)])}, "seed: a column of duration[us] is not"),
        ({"seed": [[1]]}, "seed: a column of list<element: int64> is not whole numbers"),
        ({"seed": [{"a": 1}]}, "seed: a column of struct"),
        ({"seed": pa.array(["1"]).dictionary_encode()}, "seed: a column of string is not whole numbers"),
        ({"seed": [decimal.Decimal("1"), decimal.Decimal("1.5")]}, "seed: row 2: 1.5 is not a whole number"),
        ({"seed": [decimal.Decimal("9" * 38)]}, "seed: row 1"),
        ({"eta": pa.array([1, 2**70], pa.decimal256(76, 0))}, "eta: row 2"),
        ({"prompt": [["a"]]}, "prompt: a column of list"),
        ({"prompt": [b"a"]}, "prompt: a column of binary is not text"),
        ({"prompt": pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64()))}, "prompt: a column of map"),
        ({"mode": pa.array(["txt2img", "x", "x"]).dictionary_encode()}, "mode: row 2: 'x' is not one of"),
        ({"width": pa.array([64, 64, 7] * 500).dictionary_encode()}, "width: row 3: 7 is outside"),
        ({"mask": pa.array([MOMENT])}, "mask: a column of timestamp[us] is not JSON"),
        ({"mask": [[[[float("nan")]]]]}, "mask"),
        ({"loras": [[{"name": b"\xff"}]]}, "loras: a column of"),
        ({"prompt": ["a"], "Prompt ": [b"\xff\xfe"]}, "Prompt : a column of binary cannot be read as text"),
        ({f"c{at}": [1] for at in range(1025)}, "more than 1,024 columns"),
    ],
)  # fmt: skip
def test_wrong_types_say_which_column(tmp_path: Path, columns: dict[str, Any], part: str) -> None:
    assert part in told(tmp_path / "t.parquet", packed(columns))


def test_a_name_that_stands_twice(tmp_path: Path) -> None:
    file = io.BytesIO()
    pq.write_table(pa.table([[1], [2]], names=["seed", "seed"]), file)
    assert "seed: two columns have this name" in told(tmp_path / "t.parquet", file.getvalue())


@pytest.mark.parametrize(
    ("name", "data", "part"),
    [
        ("t.csv", b"prompt,seed\n" + b"x" * 300_000 + b",1\ny,zz\n", "seed: 'zz' is not a whole number"),
        ("t.csv", b"prompt,seed\n" + b"x" * (40 << 20) + b",1\n", "cannot be read"),
        ("t.csv", b"prompt,seed\na\0b,q\n", "seed: 'q' is not a whole number"),
        ("t.csv", "prompt,seed\né,1\n".encode("latin-1"), "cannot be read"),
        ("t.csv", "prompt,seed\né,1\n".encode("utf-16"), "cannot be read"),
        ("t.csv", b"prompt,seed\na,1,2\nb\n", "t.csv:2: has 3 cells"),
        ("t.csv", b'prompt,seed\n"a,1\n', "t.csv"),
        ("t.csv", b",".join(b"c%d" % at for at in range(1025)) + b"\n", "more than 1,024 columns"),
        ("t.csv", b",".join([b"a"] * 200_000) + b"\n", "two columns have this name"),
        ("t.jsonl", b"".join(b'{"c%d": 1}\n' % at for at in range(1025)), "more than 1,024 columns"),
        ("t.jsonl", '{"prompt": "é"}'.encode("latin-1"), "cannot be read"),
        ("t.jsonl", '{"prompt": "é"}'.encode("utf-16"), "cannot be read"),
        ("t.jsonl", b'{"prompt": "\xed\xa0\x80"}', "cannot be read"),
        ("t.jsonl", b'{"prompt": "\\ud800"}', "surrogate"),
        ("t.jsonl", b'{"seed": 1e999}', "seed: inf is not a finite number"),
        ("t.jsonl", b'{"seed": [' + b"[" * 60 + b"]" * 60 + b"]}", "nested more than"),
        ("t.jsonl", b'{"prompt": "' + b"x" * (17 << 20) + b'"}', "too large"),
        ("t.jsonl", b'{"prompt": "a"}\n{"seed": {}}\n', "t.jsonl:2: seed"),
    ],
)
def test_wrong_texts_say_where(tmp_path: Path, name: str, data: bytes, part: str) -> None:
    assert part in told(tmp_path / name, data)


def test_a_small_file_that_stands_for_25_gigabytes_stays_packed(tmp_path: Path) -> None:
    column = pa.DictionaryArray.from_arrays(pa.array([0] * 50_000, pa.int32()), pa.array(["x" * (1 << 19)]))
    path = tmp_path / "t.parquet"
    path.write_bytes(packed({"prompt": column}, store_schema=False, write_statistics=False, compression="zstd"))
    assert path.stat().st_size < 1 << 20
    code = (
        "import sys; from pathlib import Path; from sdbatch import api\n"
        "print(api.validate(Path(sys.argv[1]))[0])\n"
        # Not ru_maxrss, which begins with what the process that starts this one held.
        "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    said, used = done.stdout.splitlines()
    assert "prompt: with this column the table is larger than 2,048 MiB unpacked" in said
    assert int(used) >> 10 < 1000, "MiB"


def test_bytes_that_are_no_text_are_told_by_column(tmp_path: Path) -> None:
    for kind in (PLAIN, WHOLE):
        assert told(tmp_path / "t.parquet", kind) == ""
    assert "prompt: is broken" in told(tmp_path / "t.parquet", PLAIN.replace(b"a ring", b"a \xffing"))
    nested = packed({"loras": [["ring"]]}, compression="none")
    assert "loras: is broken" in told(tmp_path / "t.parquet", nested.replace(b"ring", b"\xffing"))


def test_lists_of_texts_are_weighed_a_few_rows_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "TABLE_BYTES", 8 << 20)
    data = packed({"loras": [["x" * 100_000]] * 400})
    assert len(data) < 1 << 20
    assert "loras: with this column the table is larger than 8 MiB" in told(tmp_path / "t.parquet", data)


def test_more_cells_or_rows_than_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = packed({"seed": [0] * 1000, "steps": [1] * 1000})
    assert told(tmp_path / "t.parquet", data) == ""
    for name, value, part in (("CELLS_MAX", 1999, "1,999 cells"), ("ROWS_MAX", 999, "1,000 rows; at most 999")):
        with monkeypatch.context() as patched:
            patched.setattr(parquet, name, value)
            assert part in told(tmp_path / "t.parquet", data)


WHOLE = packed(
    {
        "prompt": ["a star", "a ring", None] * 50, "seed": [*range(150)], "eta": [0.5] * 150,
        "box": [[0, 0, 8, 8]] * 150, "note": [MOMENT] * 150,
    },
    compression="zstd",
)  # fmt: skip
PLAIN = packed({"prompt": ["a star", "a ring"] * 9, "seed": [*range(18)]}, compression="none", use_dictionary=False)
CHANGES = st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), min_size=1, max_size=4)


# The same damage each time: of some ten thousand at random one made Arrow itself end the process.
@settings(deadline=None, max_examples=150, suppress_health_check=list(HealthCheck), derandomize=True)
@given(st.sampled_from([WHOLE, PLAIN]), CHANGES, st.integers(0, len(WHOLE)) | st.none())
def test_any_damage_to_a_parquet_file_is_an_error_of_ours(
    tmp_path: Path, data: bytes, changes: list[tuple[int, int]], cut: int | None
) -> None:
    damaged = bytearray(data)
    for at, value in changes:
        damaged[at % len(damaged)] = value
    told(tmp_path / "t.parquet", bytes(damaged[:cut]))
