"""Kinds of damage to a run directory: each is made, with what `fsck` then finds, and how many rows are made again."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
from PIL import Image

from sdbatch.store.base import TEMPORARY

PICTURE, OTHER = "images/red/1.png", "images/blue/2.png"


def part(directory: Path, at: int = 0) -> Path:
    """By age: the names of two runs of one second come in any order."""
    return sorted((directory / "manifest").iterdir(), key=lambda path: path.stat().st_mtime_ns)[at]


def gone(run: Path) -> None:
    (run / PICTURE).unlink()


def empty(run: Path) -> None:
    (run / PICTURE).write_bytes(b"")


def cut(run: Path) -> None:
    data = (run / PICTURE).read_bytes()
    (run / PICTURE).write_bytes(data[: len(data) // 2])


def stripped(run: Path) -> None:
    """Another program saved the same pixels, without the texts."""
    Image.open(run / PICTURE).convert("RGB").save(run / PICTURE)


def painted(run: Path) -> None:
    Image.new("RGB", (64, 64)).save(run / PICTURE)


def stray(run: Path) -> None:
    (run / "images" / "mine.txt").write_text("mine")


def unfinished(run: Path) -> None:
    (run / "images" / "red" / f"{TEMPORARY}1").write_bytes(b"torn")


def cut_part(run: Path) -> None:
    data = part(run).read_bytes()
    part(run).write_bytes(data[: len(data) // 2])


def flipped_part(run: Path) -> None:
    """One bit of one page, which its checksum tells."""
    data = bytearray(part(run).read_bytes())
    column = pq.ParquetFile(io.BytesIO(bytes(data))).metadata.row_group(0).column(0)
    data[column.dictionary_page_offset + 40] ^= 1
    part(run).write_bytes(bytes(data))


def text_part(run: Path) -> None:
    part(run).write_bytes(b"not Parquet")


def copied_part(run: Path) -> None:
    shutil.copy(part(run), part(run).with_name("zz.parquet"))


def torn_runs(run: Path) -> None:
    with (run / "runs.jsonl").open("a") as file:
        file.write('{"run": "x", "jo')


def torn_log(run: Path) -> None:
    with (run / "log.jsonl").open("a") as file:
        file.write('{"time": "20')


def bad_failures(run: Path) -> None:
    (run / "failures").mkdir()
    (run / "failures" / "x.parquet").write_bytes(b"PAR1")


PART = "manifest/*0"  # stands for the first part
DAMAGE: list[tuple[Callable[[Path], None], list[tuple[str, str]], int]] = [
    (gone, [("missing", PICTURE)], 1),
    (empty, [("torn", PICTURE)], 1),
    (cut, [("torn", PICTURE)], 1),
    (stripped, [("altered", PICTURE)], 1),
    (painted, [("altered", PICTURE)], 1),
    (stray, [("orphan", "images/mine.txt")], 0),
    (unfinished, [("temporary", f"images/red/{TEMPORARY}1")], 0),
    (cut_part, [("orphan", PICTURE), ("orphan", "images/red/2.png"), ("part", PART)], 2),
    (flipped_part, [("orphan", PICTURE), ("orphan", "images/red/2.png"), ("part", PART)], 2),
    (text_part, [("orphan", PICTURE), ("orphan", "images/red/2.png"), ("part", PART)], 2),
    (copied_part, [("duplicate", PICTURE), ("duplicate", "images/red/2.png")], 0),
    (torn_runs, [("line", "runs.jsonl")], 0),
    (torn_log, [("line", "log.jsonl")], 0),
    (bad_failures, [("part", "failures/x.parquet")], 0),
]
