"""Tables: columns get their parameters' types, and wrong cells are told with line and column."""

from __future__ import annotations

import contextlib
import datetime
import decimal
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sdbatch.errors import Problem, SpecError
from sdbatch.spec import tables


def parquet(path: Path, **columns: Any) -> Path:
    pq.write_table(pa.table(columns), path / "t.parquet")
    return path / "t.parquet"


def put(path: Path, name: str, text: str) -> Path:
    (path / name).write_bytes(text.encode("utf-8", "surrogatepass"))
    return path / name


def rows(path: Path) -> list[dict[str, Any]]:
    table = tables.read(path, path.name)
    assert table.column_names == tables.columns(path)
    return table.to_pylist()


def wrong(path: Path) -> list[Problem]:
    with pytest.raises(SpecError) as caught:
        tables.read(path, path.name)
    return caught.value.problems


def test_csv(tmp_path: Path) -> None:
    path = put(
        tmp_path,
        "t.csv",
        "\ufeffprompt,seed,label,mask,note,guidance_scale\r\n"
        '"a\r\nb",1,007,"[0, 0,8,8]",NA,64\r\n'
        '{x},+3.0,1,pic.png,"",.5\r\n'
        ",99,,null,,\r\n",
    )
    assert rows(path) == [
        {"prompt": "a\r\nb", "seed": 1, "label": "007", "mask": "[0,0,8,8]", "note": "NA", "guidance_scale": 64.0},
        {"prompt": "{x}", "seed": 3, "label": "1", "mask": '"pic.png"', "note": "", "guidance_scale": 0.5},
        {"prompt": None, "seed": 99, "label": None, "mask": None, "note": None, "guidance_scale": None},
    ]
    assert [str(kind) for kind in tables.read(path, "t").schema.types] == ["string", "int64", *["string"] * 3, "double"]


def test_wrong_cells_of_a_csv_have_lines(tmp_path: Path) -> None:
    text = 'prompt,seed,width,scheduler\n"a\nb",1,64,ddim\n\nx,zz,65,dim\n,4294967296,72,ddim\n,1.5,nan,\n'
    found = [(p.file, p.line, p.key, p.message) for p in wrong(put(tmp_path, "t.csv", text))]
    assert [(line, key) for _, line, key, _ in found] == [
        (5, "seed"), (6, "seed"), (7, "seed"), (5, "width"), (7, "width"), (5, "scheduler"),
    ]  # fmt: skip
    assert found[0][0] == "t.csv"
    assert "'zz' is not a whole number" in found[0][3]
    assert "did you mean 'ddim'" in found[5][3]


@pytest.mark.parametrize(
    ("text", "line", "part"),
    [
        ("a,b\n1,2\n\n3\n", 4, "has 1 cells; the header has 2"),
        ("a,b\n", None, "no row"),
        ("", None, "no column"),
        ("a,a\n1,2\n", None, "this name"),
        ("seed\n\udcff\n", None, "cannot be read"),
    ],
)
def test_torn_csv(tmp_path: Path, text: str, line: int | None, part: str) -> None:
    problem = wrong(put(tmp_path, "t.csv", text))[0]
    assert (problem.file, problem.line) == ("t.csv", line)
    assert part in problem.message


def test_jsonl(tmp_path: Path) -> None:
    path = put(
        tmp_path,
        "t.jsonl",
        '{"seed": 1, "mask": [0, 0], "l": 4.0, "prompt": "2024-01-01"}\r\n\r\n'
        '{"seed": 2.0, "mask": "[1]", "m": [1], "l": true}\n{"seed": null, "mask": {"b": 1, "a": 2}, "l": "x"}',
    )
    assert rows(path) == [
        {"seed": 1, "mask": "[0,0]", "l": "4", "prompt": "2024-01-01", "m": None},
        {"seed": 2, "mask": '"[1]"', "l": "true", "prompt": None, "m": "[1]"},
        {"seed": None, "mask": '{"a":2,"b":1}', "l": "x", "prompt": None, "m": None},
    ]


@pytest.mark.parametrize(
    ("text", "line", "key", "part"),
    [
        ('{"seed": 1}\n\n{"seed": "x"}\n', 3, "seed", "not a whole number"),
        ('{"seed": 1}\n{"seed": }\n', 2, "", "not JSON"),
        ('{"seed": 1}\n[1]\n', 2, "", "not an object"),
        ('{"seed": 1, "seed": 2}\n', 1, "", "twice"),
        ('{"eta": NaN}\n', 1, "", "NaN"),
        ('{"a": ' + "9" * 50 + "}\n", 1, "", "bits"),
        ('{"a": ' + "9" * 5000 + "}\n", 1, "", "not JSON"),
        ('{"a": ' + "[" * 100_000 + "\n", 1, "", "not JSON"),
        ("\n", None, "", "no column"),
        ("{}\n", None, "", "no column"),
    ],
)
def test_wrong_jsonl(tmp_path: Path, text: str, line: int | None, key: str, part: str) -> None:
    problem = wrong(put(tmp_path, "t.jsonl", text))[0]
    assert (problem.line, problem.key) == (line, key)
    assert part in problem.message


def test_parquet_types_are_cast(tmp_path: Path) -> None:
    path = parquet(
        tmp_path,
        prompt=pa.array(["a", None, "a"]).dictionary_encode(),
        negative_prompt=pa.array(["x", "y", "z"], pa.large_string()),
        seed=pa.array([0, 2**32 - 1, None], pa.uint64()),
        steps=pa.array([1.0, 20.0, None]),
        guidance_scale=pa.array([0.1, 4.0, None], pa.float32()),
        eta=pa.array([0, 1, None], pa.int8()),
        strength=pa.array([decimal.Decimal("0.25"), None, None]),
        image=pa.nulls(3),
        noise_level=pa.nulls(3),
        mask=pa.array([[0, 0, 8, 8], None, []]),
        outpaint=pa.array([{"left": 8, "top": None}, {"left": None, "top": 8}, None]),
        control_scale=pa.array([0.5, None, 0.5]),
        loras=pa.array(['[ "a" ]', 'say "hi"', "true"]),
        __index_level_0__=[1, 2, 3],
    )
    assert rows(path) == [
        {
            "prompt": "a", "negative_prompt": "x", "seed": 0, "steps": 1, "guidance_scale": 0.1, "eta": 0.0,
            "strength": 0.25, "image": None, "noise_level": None, "mask": "[0,0,8,8]", "outpaint": '{"left":8}',
            "control_scale": "0.5", "loras": '["a"]',
        },
        {
            "prompt": None, "negative_prompt": "y", "seed": 2**32 - 1, "steps": 20, "guidance_scale": 4.0, "eta": 1.0,
            "strength": None, "image": None, "noise_level": None, "mask": None, "outpaint": '{"top":8}',
            "control_scale": None, "loras": '"say \\"hi\\""',
        },
        {
            "prompt": "a", "negative_prompt": "z", "seed": None, "steps": None, "guidance_scale": None, "eta": None,
            "strength": None, "image": None, "noise_level": None, "mask": "[]", "outpaint": None,
            "control_scale": "0.5", "loras": "true",
        },
    ]  # fmt: skip


def test_free_columns_become_text(tmp_path: Path) -> None:
    moment = datetime.datetime(2024, 1, 2, 3, 4, 5)
    path = parquet(
        tmp_path,
        text=["é"], whole=[7], real=[0.5], round=[4.0], truth=[True], day=[moment.date()], none=pa.nulls(1),
        time=pa.array([moment], pa.timestamp("s")), nested=[{"a": [1, 2]}],
    )  # fmt: skip
    assert rows(path) == [
        {
            "text": "é", "whole": "7", "real": "0.5", "round": "4", "truth": "true", "day": "2024-01-02", "none": None,
            "time": "2024-01-02T03:04:05", "nested": '{"a":[1,2]}',
        }
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("columns", "key", "part"),
    [
        ({"seed": [1, -1]}, "seed", "row 2: -1 is outside"),
        ({"seed": [1, 1.5]}, "seed", "row 2: 1.5 is not a whole number"),
        ({"seed": pa.array([1, 2**64 - 1], pa.uint64())}, "seed", "row 2"),
        ({"seed": ["1", "2"]}, "seed", "string is not whole numbers"),
        ({"seed": [True]}, "seed", "bool is not whole numbers"),
        ({"eta": [0.5, float("nan")]}, "eta", "row 2: nan is not a finite number"),
        ({"eta": [0.5, float("inf")]}, "eta", "row 2"),
        ({"width": [64, 65]}, "width", "row 2: 65 is not a multiple of 8"),
        ({"prompt": [1]}, "prompt", "int64 is not text"),
        ({"mode": ["txt2img", "text2img"]}, "mode", "did you mean 'txt2img'"),
        ({"mask": [float("inf")]}, "mask", "row 1"),
        ({"label": [b"\xff"]}, "label", "cannot be read as text"),
        ({"mask": [[b"\xff"]]}, "mask", "not JSON"),
        ({"seed": pa.array([], pa.int64())}, "", "no row"),
    ],
)
def test_wrong_parquet(tmp_path: Path, columns: dict[str, Any], key: str, part: str) -> None:
    (problem,) = wrong(parquet(tmp_path, **columns))
    assert (problem.key, problem.line) == (key, None)
    assert part in problem.message


def test_rows_of_many_chunks_are_counted_through(tmp_path: Path) -> None:
    writer = pq.ParquetWriter(tmp_path / "t.parquet", pa.schema([("seed", pa.int64())]))
    with writer:
        for first in (0, 100, 200):
            writer.write_table(pa.table({"seed": [*range(first, first + 99), -1]}))
    assert [problem.message.split(":")[0] for problem in wrong(tmp_path / "t.parquet")] == [
        "row 100",
        "row 200",
        "row 300",
    ]


@pytest.mark.parametrize("name", ["t.parquet", "t.csv", "t.jsonl"])
def test_files_that_are_not_tables(tmp_path: Path, name: str) -> None:
    for raw in (b"PAR1garbage", b"\xff\xfe\x00", b'"'):
        (tmp_path / name).write_bytes(raw)
        assert wrong(tmp_path / name)
    (tmp_path / name).unlink()
    assert "No such file" in str(wrong(tmp_path / name)[0])


VALUES = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=6)
NAMES = st.sampled_from(["seed", "eta", "prompt", "mask", "label", "mode", "a b"])


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.dictionaries(NAMES, VALUES | st.lists(VALUES, max_size=2), max_size=4), max_size=4))
def test_any_jsonl_gives_a_table_or_a_spec_error(tmp_path: Path, entries: list[dict[str, Any]]) -> None:
    path = put(tmp_path, "f.jsonl", "\n".join(json.dumps(entry) for entry in entries))
    with contextlib.suppress(SpecError):
        tables.read(path, "f")


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(NAMES, st.text(st.sampled_from('1,"\n\r.e-+[]{}x ') | st.characters(), max_size=40))
def test_any_csv_gives_a_table_or_a_spec_error(tmp_path: Path, name: str, text: str) -> None:
    path = put(tmp_path, "f.csv", f"{name},mask\n{text}")
    with contextlib.suppress(SpecError):
        tables.read(path, "f")
