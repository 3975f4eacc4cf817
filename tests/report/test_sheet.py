"""Contact sheets: the right picture in the right place."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from PIL import Image

import sdbatch.report.sheet as drawn
from sdbatch.errors import StoreError, UsageError
from sdbatch.report import layout
from sdbatch.report.drawing import fitted, natural, shown, text_width, wrap
from sdbatch.report.sheet import sheet

RGB = tuple[int, int, int]


def color_of(number: int) -> RGB:
    """A strong colour of its own for each of 216 numbers, that no heading or frame has."""
    return (number * 41 % 251, number * 89 % 241, 255 - number)


def make(folder: Path, rows: Sequence[Mapping[str, Any]], size: tuple[int, int] = (64, 64)) -> pa.Table:
    """A manifest whose picture n is all of color_of(n)."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    lines = []
    for number, row in enumerate(rows):
        path = f"images/{number}.png"
        Image.new("RGB", size, color_of(number % 216)).save(folder / path)
        lines.append({"row": str(number), "path": path, "model": "demo", **row})
    return pa.Table.from_pylist(lines)


def crossed(columns: int, lines: int, **more: Any) -> list[dict[str, Any]]:
    return [{"seed": x, "field_color": f"c{y}", **more} for y in range(lines) for x in range(columns)]


def page(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def places(found: NDArray[np.uint8], count: int) -> dict[int, tuple[int, int]]:
    """Top left corner (x, y) of each picture that is on a page."""
    codes = found.astype(np.int32) @ (65536, 256, 1)
    present = dict(zip(*(values.tolist() for values in np.unique(codes, return_counts=True)), strict=True))
    result = {}
    for number in range(count):
        code = int(np.dot(color_of(number), (65536, 256, 1)))
        if present.get(code, 0) > 500:
            ys, xs = np.nonzero(codes == code)
            result[number] = (int(xs.min()), int(ys.min()))
    return result


def test_each_picture_stands_in_its_row_and_column(tmp_path: Path) -> None:
    rows = crossed(4, 3)
    order = np.random.default_rng(0).permutation(12)
    order = order[np.argsort([rows[n]["field_color"] for n in order], kind="stable")]  # seeds out of order, colours not
    table = make(tmp_path, rows).take(pa.array(order))
    (path,) = sheet(table, tmp_path, tmp_path / "s.png", x="seed", y="color")
    found = places(page(path), 12)
    xs, ys = sorted({x for x, _ in found.values()}), sorted({y for _, y in found.values()})
    assert found == {n: (xs[n % 4], ys[n // 4]) for n in range(12)}
    # 64 pixels are shown as 128, and cells do not touch.
    assert xs[1] - xs[0] == ys[1] - ys[0] == 140
    turned = sheet(table, tmp_path, tmp_path / "t.png", x="field_color", y="seed")
    assert len({x for x, _ in places(page(turned[0]), 12).values()}) == 3


def test_axes_are_chosen(tmp_path: Path) -> None:
    rows = [row | {"steps": 20 + row["seed"], "prompt": f"{row}"} for row in crossed(4, 3)]  # steps follow seed
    (path,) = sheet(make(tmp_path, rows), tmp_path, tmp_path / "s.png")
    found = places(page(path), 12)
    assert len({x for x, _ in found.values()}) == 4 and len({y for _, y in found.values()}) == 3


def test_an_axis_of_many_values_goes_down(tmp_path: Path) -> None:
    (path,) = sheet(make(tmp_path, crossed(30, 2), (16, 16)), tmp_path, tmp_path / "s.png")
    found = places(page(path), 60)
    assert len({x for x, _ in found.values()}) == 2 and len({y for _, y in found.values()}) == 30


def test_numbers_in_text_are_sorted_as_numbers(tmp_path: Path) -> None:
    table = make(tmp_path, [{"field_n": text} for text in ("10", "9", "2.5")])
    found = places(page(sheet(table, tmp_path, tmp_path / "s.png", x="n")[0]), 3)
    assert found[2][0] < found[1][0] < found[0][0]


def test_texts_keep_their_order_and_null_is_a_value(tmp_path: Path) -> None:
    table = make(tmp_path, [{"field_n": text} for text in ("zebra", None, "ant")])
    found = places(page(sheet(table, tmp_path, tmp_path / "s.png", x="n")[0]), 3)
    assert found[0][0] < found[1][0] < found[2][0]


def test_one_axis_runs_on_over_lines(tmp_path: Path) -> None:
    table = make(tmp_path, [{"seed": n} for n in range(40)])
    found = places(page(sheet(table, tmp_path, tmp_path / "s.png")[0]), 40)
    assert len(found) == 40 and len({y for _, y in found.values()}) == 5
    assert [n for n, _ in sorted(found.items(), key=lambda item: item[1][::-1])] == list(range(40))


def test_rows_that_share_a_cell_stand_side_by_side_and_keep_their_place(tmp_path: Path) -> None:
    rows = [row | {"guidance_scale": g} for row in crossed(2, 2) for g in (4.0, 1.0, 7.0, 2.0)]
    table = make(tmp_path, rows)
    found = places(page(sheet(table, tmp_path, tmp_path / "s.png", x="seed", y="color")[0]), 16)
    (x, y) = found[1]
    assert (found[3], found[0], found[2]) == ((x + 132, y), (x, y + 132), (x + 132, y + 132))
    gap = table.filter(pa.array([n != 1 for n in range(16)]))
    left = places(page(sheet(gap, tmp_path, tmp_path / "g.png", x="seed", y="color")[0]), 16)
    assert left == {n: at for n, at in found.items() if n != 1}


def test_a_crowded_cell_says_how_many_more(tmp_path: Path) -> None:
    table = make(tmp_path, [{"seed": n, "mode": "txt2img"} for n in range(80)])
    found = places(page(sheet(table, tmp_path, tmp_path / "s.png", x="mode", y="model")[0]), 80)
    assert sorted(found) == list(range(63))


def test_a_missing_cell_a_failed_one_and_a_lost_file(tmp_path: Path) -> None:
    table = make(tmp_path, crossed(3, 3))
    (tmp_path / "images/8.png").unlink()
    (tmp_path / "images/6.png").write_bytes(b"\x89PNG\r\n\x1a\n torn")
    whole = places(page(sheet(table, tmp_path, tmp_path / "w.png", x="seed", y="color")[0]), 9)
    assert sorted(whole) == [0, 1, 2, 3, 4, 5, 7]
    kept = table.filter(pa.array([n not in (1, 4) for n in range(9)]))
    failure = {"row": "4", "error": "PictureError", "message": "NaN", "seed": 1, "field_color": "c1"}
    over = {"row": "0", "error": "InputError", "message": "made since", "seed": 0, "field_color": "c0"}
    nowhere = {"row": "x", "error": "InputError", "message": "no axes"}
    (path,) = sheet(kept, tmp_path, tmp_path / "s.png", x="seed", y="color", failures=[failure, over, nowhere])
    found = page(path)
    after = places(found, 9)
    assert after[0] == whole[0] and sorted(after) == [0, 2, 3, 5, 7]

    def cell(n: int) -> NDArray[np.uint8]:
        return found[whole[n][1] : whole[n][1] + 128, whole[n][0] : whole[n][0] + 128].reshape(-1, 3)

    shades = {n: len(np.unique(cell(n), axis=0)) for n in (0, 1, 4)}
    assert shades[0] == 1  # one colour
    assert shades[1] == 2  # light, with a dash
    assert shades[4] > 5  # a cross, and a reason with soft edges
    assert np.median(cell(1)) > 220 and cell(4)[0].tolist() == [249, 235, 232]


def test_only_failures(tmp_path: Path) -> None:
    table = make(tmp_path, crossed(1, 1)).slice(0, 0)
    failure = {"row": "4", "error": "PictureError", "message": "NaN", "seed": 1}
    assert sheet(table, tmp_path, tmp_path / "s.png", x="seed", failures=[failure])


def test_pages_end_at_the_side_and_hold_everything_once(tmp_path: Path) -> None:
    table = make(tmp_path, crossed(15, 14))
    paths = sheet(table, tmp_path, tmp_path / "s.webp", x="seed", y="color", max_side=1200)
    assert [path.name for path in paths] == [f"s-{n:02d}.webp" for n in range(1, 7)]
    assert all(max(page(path).shape) <= 1200 for path in paths)
    paths = sheet(table, tmp_path, tmp_path / "s.png", x="seed", y="color", max_side=1200)
    seen = [number for path in paths for number in places(page(path), 210)]
    assert sorted(seen) == list(range(210))


def test_pages_end_at_the_cells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "MAX_CELLS", 14)
    assert len(sheet(make(tmp_path, crossed(4, 6)), tmp_path, tmp_path / "s.png", x="seed", y="color")) == 2
    assert len(sheet(make(tmp_path, [{"seed": n} for n in range(24)]), tmp_path, tmp_path / "t.png", x="seed")) == 2


def test_a_page_takes_no_more_pixels_than_memory_allows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "MAX_PIXELS", 1_000_000)
    for named in ({"x": "seed", "y": "color"}, {"x": "seed"}):
        rows = crossed(5, 8) if "y" in named else [{"seed": n} for n in range(40)]
        paths = sheet(make(tmp_path, rows), tmp_path, tmp_path / "s.png", **named)
        shapes = [page(path).shape for path in paths]
        assert len(paths) > 1 and all(high * wide <= 1_000_000 for high, wide, _ in shapes)
        assert sorted(number for path in paths for number in places(page(path), 40)) == list(range(40))


def test_a_pdf_has_all_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [row | {"guidance_scale": g} for g in (7.5, 1.0, 3.0) for row in crossed(3, 2)]
    made = make(tmp_path, rows)
    (path,) = sheet(made, tmp_path, tmp_path / "s.pdf", x="seed", y="color", by="guidance_scale")
    data = path.read_bytes()
    assert data.startswith(b"%PDF-") and data.rstrip().endswith(b"%%EOF") and b"/Count 3" in data
    assert len(re.findall(rb"/Subtype /Image", data)) == 3
    monkeypatch.setattr(drawn, "draw_page", _full)
    with pytest.raises(StoreError, match="No space left"):
        sheet(made, tmp_path, tmp_path / "t.pdf", x="seed", y="color")
    assert not list(tmp_path.glob("*.part")) and not (tmp_path / "t.pdf").exists()


def _full(*unused: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.slow
def test_ten_thousand_cells_stay_below_500_mb(tmp_path: Path) -> None:
    code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
import test_sheet
from sdbatch.report.sheet import sheet
folder = Path({str(tmp_path)!r})
table = test_sheet.make(folder, test_sheet.crossed(100, 100), (256, 256))
print(len(sheet(table, folder, folder / "s.pdf", x="seed", y="color")))
# Not getrusage: what that says begins with the memory of the process that this one was forked from.
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM:")))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    pages, kilobytes = map(int, done.stdout.split())
    assert pages == 1 and kilobytes < 500 * 1024
    assert len(re.findall(rb"/Subtype /Image", (tmp_path / "s.pdf").read_bytes())) > 5


def test_a_page_for_each_value(tmp_path: Path) -> None:
    rows = [row | {"guidance_scale": g} for g in (7.5, 1.0) for row in crossed(3, 2)]
    paths = sheet(make(tmp_path, rows), tmp_path, tmp_path / "s.png", x="seed", y="color", by="guidance_scale")
    assert [sorted(places(page(path), 12)) for path in paths] == [list(range(6, 12)), list(range(6))]


def test_a_page_leaves_out_values_that_only_other_pages_have(tmp_path: Path) -> None:
    rows = [row | {"prompt": f"p{row['field_color']}"} for row in crossed(3, 3)]
    first, *others = sheet(make(tmp_path, rows), tmp_path, tmp_path / "s.png", x="seed", y="prompt", by="color")
    assert len(others) == 2 and page(first).shape[0] < 400


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "\n\n",
        "a\0b\x1b[31m",
        "x" * 100_000,
        "word " * 20_000,
        "שלום עולם",
        "日本語 🎈👩‍👩‍👧",
        "a\u2028b",
        "e\u0301" * 200,
    ],
)
def test_odd_text(tmp_path: Path, text: str) -> None:
    table = make(tmp_path / "odd \n name", [{"prompt": text, "field_a": text}, {"prompt": "b", "field_a": "b"}])
    (path,) = sheet(table, tmp_path / "odd \n name", tmp_path / "s.png", x="a", by=None)
    assert len(places(page(path), 2)) == 2
    failure = {"row": "f", "error": text, "message": text, "field_a": text, "prompt": text}
    assert sheet(table, tmp_path, tmp_path / "s.png", x="prompt", y="a", failures=[failure])


def test_odd_shapes(tmp_path: Path) -> None:
    for size in ((8, 8), (2000, 8), (8, 2000), (700, 500)):
        (path,) = sheet(make(tmp_path, crossed(2, 2), size), tmp_path, tmp_path / "s.png")
        assert max(page(path).shape) < 1300


def test_what_cannot_be_drawn(tmp_path: Path) -> None:
    table = make(tmp_path, crossed(2, 2))
    with pytest.raises(UsageError, match="'seeed'; did you mean 'seed'"):
        sheet(table, tmp_path, tmp_path / "s.png", x="seeed")
    with pytest.raises(UsageError, match="three columns"):
        sheet(table, tmp_path, tmp_path / "s.png", x="seed", y="seed")
    with pytest.raises(UsageError, match=r"\.png, a \.webp or a \.pdf"):
        sheet(table, tmp_path, tmp_path / "s.gif")
    with pytest.raises(UsageError, match="1000"):
        sheet(table, tmp_path, tmp_path / "s.png", max_side=500)
    with pytest.raises(UsageError, match="no pictures"):
        sheet(table.slice(0, 0), tmp_path, tmp_path / "s.png")
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError):
        sheet(table, tmp_path, tmp_path / "file" / "s.png")
    assert not list(tmp_path.glob("*.part"))


def test_sizes() -> None:
    assert natural((64, 64)) == (128, 128) and natural((8, 8)) == (96, 96)
    assert natural((128, 96)) == (128, 96) and natural((512, 256)) == (256, 128)
    assert fitted((64, 64), (100, 200)) == (64, 64) and fitted((1000, 1), (100, 100)) == (100, 1)


def test_wrapping() -> None:
    lines = wrap("one two three four five six", 15, 80, 2)
    assert len(lines) == 2 and lines[-1].endswith("…") and text_width(lines, 15) <= 80
    assert "".join(wrap("x" * 60, 15, 80, 99)) == "x" * 60
    assert shown(4.0) == "4" and shown(0.1 + 0.2) == "0.3" and shown(None) == "none"
