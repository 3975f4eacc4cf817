"""A sheet of parents, each with some of the pictures that were made of it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw

from sdbatch.report import drawing
from sdbatch.report.drawing import Item

PARENTS, CHILDREN = 8, 6
"""Lines of the sheet, and pictures in each beside the parent."""
_CELL, _GAP, _LABEL, _MARGIN, _HEAD = (144, 144), 8, 120, 24, 28


@dataclass(frozen=True)
class Sample:
    """A parent and its pictures, each with a few words below it."""

    label: str
    parent: Path
    children: Sequence[tuple[Path, str]]


def draw(samples: Sequence[Sample]) -> bytes:
    """A PNG of the samples, a line each: the parent, then its pictures."""
    line = _CELL[1] + drawing.line_height(11) + _GAP
    columns = 1 + max(len(one.children) for one in samples)
    width = 2 * _MARGIN + _LABEL + columns * (_CELL[0] + _GAP)
    page = Image.new("RGB", (width, 2 * _MARGIN + _HEAD + len(samples) * line), drawing.PAPER)
    pen = ImageDraw.Draw(page)
    left, top = _MARGIN + _LABEL, _MARGIN + _HEAD
    for column, text in ((0, "parent"), (1, "made of it")):
        drawing.write_lines(pen, (left + column * (_CELL[0] + _GAP), _MARGIN), [text], 14, drawing.QUIET)
    for number, one in enumerate(samples):
        y = top + number * line
        words = drawing.wrap(one.label, 14, _LABEL - 12, 4)
        drawing.write_lines(pen, (_MARGIN, y + _CELL[1] // 2 - 10), words, 14)
        for column, (path, text) in enumerate([(one.parent, ""), *one.children]):
            x = left + column * (_CELL[0] + _GAP)
            drawing.draw_cell(page, (x, y), _CELL, [Item(path)], 1, _CELL)
            if text:
                said = drawing.wrap(text, 11, _CELL[0], 1)
                drawing.write_lines(pen, (x + _CELL[0] // 2, y + _CELL[1] + 3), said, 11, drawing.QUIET, "ma")
    data = io.BytesIO()
    page.save(data, "png")
    return data.getvalue()
