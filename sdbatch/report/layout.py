"""How a sheet's cells are laid out on pages, and the drawing of a page. Lengths are in pixels."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageDraw

from sdbatch.report import drawing
from sdbatch.report.drawing import Item, Size, line_height, text_width, write_lines
from sdbatch.sources import remote

MAX_CELLS = 2500
MAX_PIXELS = 32_000_000
"""Of a page, so that it takes about 100 MB while it is drawn."""
"""Cells on one page."""

_MARGIN, _GAP, _TOP = 40, 12, 124
_CELL = 320  # about the most that the pictures of one cell take when they share it
_LABEL_WIDTH, _LABEL_LINES, _LABEL_GAP = 210, 4, 16
_LEAST_WIDTH = 560  # of a page, so that its title has room
_PROBED = 64  # pictures whose size is looked at
_TITLE, _LABEL, _SMALL = 26, 15, 13  # sizes of type

Cells = dict[tuple[Any, Any], list[Item]]
"""Cells by their values of x and y."""
Band = tuple[Sequence[Any], Sequence[Any]]
"""One grid: its values across and down."""


def bare(name: str | None) -> str:
    """A column's name as its user wrote it."""
    return (name or "").removeprefix("field_")


@dataclass(frozen=True)
class Axis:
    """A column and its values in order; without a name it has the one value None and no labels."""

    name: str | None
    values: tuple[Any, ...]

    def labels(self, width: int) -> dict[Any, list[str]]:
        """Each value's heading, broken into lines."""
        if self.name is None:
            return {value: [] for value in self.values}
        return {value: drawing.wrap(drawing.shown(value), _LABEL, width, _LABEL_LINES) for value in self.values}


@dataclass(frozen=True)
class Layout:
    """Lengths in pixels.

    Attributes:
        across: pictures side by side in a cell.
        tile: room of one picture among several.
        left, head: room of the labels at the left, and above each band.
        title, about: the page's first two lines.
    """

    x: Axis
    y: Axis
    across: int
    tile: Size
    cell: Size
    left: int
    head: int
    title: str
    about: str

    def band_height(self, lines: int) -> int:
        """Height of a band of so many lines of cells."""
        return self.head + lines * (self.cell[1] + _GAP)


def measure(axes: tuple[Axis, Axis], groups: Mapping[Any, Cells], title: str, about: str) -> Layout:
    """Find the sizes that hold for every page: as large as the fullest cell and the longest labels ask for."""
    cells = [cell for group in groups.values() for cell in group.values()]
    most = min(max(map(len, cells), default=1), drawing.SHARED * drawing.SHARED)
    across = _across(most)
    down = math.ceil(most / across)
    natural_size = _natural(item for cell in cells for item in cell)
    room = max(32, (_CELL - (across - 1) * drawing.TILE_GAP) // across)
    shared = (min(room, natural_size[0]), min(room, natural_size[1]))
    tile = natural_size if across == 1 else drawing.fitted(natural_size, shared)
    cell = (
        across * (tile[0] + drawing.TILE_GAP) - drawing.TILE_GAP,
        down * (tile[1] + drawing.TILE_GAP) - drawing.TILE_GAP,
    )
    x, y = axes
    rows = y.labels(_LABEL_WIDTH)
    left = max((text_width(lines, _LABEL) for lines in rows.values()), default=0)
    left = max(left, text_width([bare(y.name)], _SMALL)) + _LABEL_GAP if y.name else 0
    tallest = max(map(len, x.labels(cell[0]).values()), default=0)
    head = line_height(_SMALL) + 8 + tallest * line_height(_LABEL) + 10 if x.name else 0
    return Layout(x, y, across, tile, cell, left, head, title, about)


def _across(most: int) -> int:
    """Pictures side by side in a cell of so many: about a square, with few empty places."""
    least = math.ceil(math.sqrt(most))
    return min(range(least, least + 2), key=lambda across: (math.ceil(most / across) * across - most, across))


def _natural(items: Iterable[Item]) -> Size:
    sizes: list[Size] = []
    for item in items:
        if item.path is None or len(sizes) == _PROBED:
            continue
        try:
            with Image.open(remote.present(item.path)) as image:
                sizes.append(drawing.natural(image.size))
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
            continue
    return (max(w for w, _ in sizes), max(h for _, h in sizes)) if sizes else (128, 128)


def paginate(layout: Layout, max_side: int) -> Iterator[list[Band]]:
    """Split the values into pages of at most `max_side`, MAX_CELLS and MAX_PIXELS; parts are about equally large."""
    width, height = layout.cell[0] + _GAP, layout.cell[1] + _GAP
    wide = max(1, (max_side - 2 * _MARGIN - layout.left) // width)
    x, y = layout.x.values, layout.y.values

    def tall(columns: int) -> int:
        """Room for lines, on a page of so many columns."""
        across = max(_LEAST_WIDTH, 2 * _MARGIN + layout.left + columns * width)
        return min(max_side, MAX_PIXELS // across) - _TOP - _MARGIN

    if layout.y.name is None:  # one axis runs on over several lines
        line = min(wide, len(x) if len(x) <= 12 else math.ceil(math.sqrt(1.6 * len(x))))
        lines = [(x[at : at + line], y) for at in range(0, len(x), line)]
        yield from _parts(lines, max(1, min(tall(line) // (layout.band_height(1) + _GAP), MAX_CELLS // line)))
        return
    for columns in _parts(x, min(wide, MAX_CELLS)):
        for rows in _parts(y, max(1, min((tall(len(columns)) - layout.head) // height, MAX_CELLS // len(columns)))):
            yield [(columns, rows)]


def _parts(values: Sequence[Any], most: int) -> Iterator[list[Any]]:
    size = math.ceil(len(values) / math.ceil(len(values) / most)) if values else 1
    for at in range(0, len(values), size):
        yield list(values[at : at + size])


def draw_page(layout: Layout, bands: Sequence[Band], cells: Cells, note: str, counted: str) -> Image.Image:
    """Draw one page; `note` follows the title, and `counted` (which page this is) begins the line below it."""
    columns = max(len(x) for x, _ in bands)
    width = max(_LEAST_WIDTH, 2 * _MARGIN + layout.left + columns * (layout.cell[0] + _GAP) - _GAP)
    height = _TOP + sum(layout.band_height(len(y)) + _GAP for _, y in bands) - 2 * _GAP + _MARGIN
    page = Image.new("RGB", (width, height), drawing.PAPER)
    draw = ImageDraw.Draw(page)
    title = layout.title + (f"  ·  {note}" if note else "")
    write_lines(draw, (_MARGIN, _MARGIN - 6), drawing.wrap(title, _TITLE, width - 2 * _MARGIN, 1), _TITLE)
    about = "  ·  ".join(text for text in (counted, layout.about) if text)
    lines = drawing.wrap(about, _SMALL, width - 2 * _MARGIN, 2)
    write_lines(draw, (_MARGIN, _MARGIN + 32), lines, _SMALL, drawing.QUIET)
    top = _TOP
    for band in bands:
        _draw_band(page, layout, band, cells, top)
        top += layout.band_height(len(band[1])) + _GAP
    return page


def _draw_band(page: Image.Image, layout: Layout, band: Band, cells: Cells, top: int) -> None:
    draw = ImageDraw.Draw(page)
    (width, height), left = layout.cell, _MARGIN + layout.left
    body = top + layout.head
    xs, ys = Axis(layout.x.name, tuple(band[0])), Axis(layout.y.name, tuple(band[1]))
    baseline = body - 10
    if xs.name:
        write_lines(draw, (left, top), [bare(xs.name)], _SMALL, drawing.QUIET)
    if ys.name:
        write_lines(
            draw, (left - _LABEL_GAP, baseline - line_height(_SMALL)), [bare(ys.name)], _SMALL, drawing.QUIET, "ra"
        )
    for column, lines in enumerate(xs.labels(width).values()):
        middle = left + column * (width + _GAP) + width // 2
        write_lines(draw, (middle, baseline - len(lines) * line_height(_LABEL)), lines, _LABEL, drawing.INK, "ma")
    for number, (y, lines) in enumerate(ys.labels(_LABEL_WIDTH).items()):
        at = body + number * (height + _GAP)
        start = at + (height - len(lines) * line_height(_LABEL)) // 2
        write_lines(draw, (left - _LABEL_GAP, start), lines, _LABEL, drawing.INK, "ra")
        for column, x in enumerate(xs.values):
            place = (left + column * (width + _GAP), at)
            drawing.draw_cell(page, place, layout.cell, cells.get((x, y), ()), layout.across, layout.tile)
