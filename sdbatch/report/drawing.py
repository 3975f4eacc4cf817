"""What a sheet is drawn with: type, wrapped text, thumbnails, cells. Lengths are in pixels."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from sdbatch.sources import remote

PAPER, INK, QUIET = "#f6f6f4", "#22262b", "#767c84"
_EDGE, _EMPTY, _DASH = "#d9dbdd", "#ececea", "#bdc1c6"
_FAILED, _CROSS, _REASON = "#f9ebe8", "#ecc9c2", "#8c3b2e"

TILE_GAP = 4
"""Between pictures that share a cell."""
SHARED = 8
"""Pictures across, and down, in a cell that many rows share."""

_LONGEST, _SHORTEST = 256, 96  # a longer picture is shrunk to the first, a shorter one enlarged past the second
_LINE = 1.3  # line height, in sizes of the type
_LETTERS = 400  # of a text, at most: more is never seen, and measuring a prompt of 100 kB takes seconds

Size = tuple[int, int]


@dataclass(frozen=True)
class Item:
    """One row in a cell: its picture, or the reason that there is none; neither is a gap."""

    path: Path | None
    reason: str = ""


def shown(value: Any) -> str:
    """A value as a heading shows it: short numbers, and text without line ends or control characters."""
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:.6g}"
    text = str(value)[:_LETTERS].encode("utf-8", "replace").decode("utf-8")
    plain = "".join(" " if unicodedata.category(letter) in ("Cc", "Zl", "Zp") else letter for letter in text)
    return " ".join(plain.split()) or "(empty)"


@lru_cache(maxsize=16)
def font(size: int) -> ImageFont.FreeTypeFont:
    """Pillow's own typeface, so that a sheet looks the same everywhere; scripts it lacks become boxes."""
    found = ImageFont.load_default(size)
    if not isinstance(found, ImageFont.FreeTypeFont):
        raise RuntimeError("this Pillow is built without FreeType")
    return found


def wrap(text: str, size: int, width: int, lines: int) -> list[str]:
    """Break a text into at most `lines` lines of at most `width`; what is cut ends in an ellipsis."""
    measure = font(size).getlength
    broken: list[str] = []
    rest = shown(text)
    while rest and len(broken) < lines:
        fits = _prefix(rest, width, measure)
        space = rest.rfind(" ", 0, fits + 1)
        end = fits if fits == len(rest) else space if space > 0 else fits
        broken.append(rest[:end].rstrip())
        rest = rest[end:].lstrip()
    if rest and broken:
        last = broken[-1]
        while last and measure(last + "…") > width:
            last = last[:-1]
        broken[-1] = last.rstrip() + "…"
    return broken


def _prefix(text: str, width: int, measure: Any) -> int:
    """How many letters fit, at least one."""
    low, high = 1, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if measure(text[:middle]) <= width else (low, middle - 1)
    return low


def line_height(size: int) -> int:
    """From one line of type to the next."""
    return round(size * _LINE)


def text_width(lines: Sequence[str], size: int) -> int:
    """Width of the longest line."""
    return math.ceil(max((font(size).getlength(line) for line in lines), default=0))


def write_lines(
    draw: ImageDraw.ImageDraw, at: Size, lines: Sequence[str], size: int, color: str = INK, anchor: str = "la"
) -> None:
    """Write lines down from `at`; the anchor's first letter says which side of each line stands there."""
    for number, line in enumerate(lines):
        draw.text((at[0], at[1] + number * line_height(size)), line, color, font(size), anchor)


def natural(size: Size) -> Size:
    """The size a picture is shown at when it has a cell for itself."""
    longest = max(size)
    if longest < _SHORTEST:
        return size[0] * math.ceil(_SHORTEST / longest), size[1] * math.ceil(_SHORTEST / longest)
    return fitted(size, (min(longest, _LONGEST), min(longest, _LONGEST)))


def fitted(size: Size, room: Size) -> Size:
    """The largest size within a room at the same aspect; enlarged only by whole factors, to keep pixels square."""
    ratio = min(room[0] / size[0], room[1] / size[1])
    ratio = math.floor(ratio) if ratio >= 1 else ratio
    return max(1, round(size[0] * ratio)), max(1, round(size[1] * ratio))


def thumbnail(path: Path, room: Size, *, enlarge: bool = True) -> Image.Image:
    """A picture, brought to fit a room; a small one by whole factors, or left as it is.

    Raises:
        OSError: it is missing or broken.
    """
    try:
        with Image.open(remote.present(path)) as image:
            size = fitted(image.size, room)
            if not enlarge and size[0] > image.width:
                size = image.size
            image.draft("RGB", size)  # a JPEG is decoded no larger than needed
            resample = Image.Resampling.NEAREST if size[0] >= image.width else Image.Resampling.LANCZOS
            return image.convert("RGB").resize(size, resample)
    except (SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise OSError(str(error)) from error  # what Pillow raises over some broken files


def draw_cell(page: Image.Image, at: Size, cell: Size, items: Sequence[Item], across: int, tile: Size) -> None:
    """Draw the rows of one cell side by side; an empty cell is a light one with a dash."""
    draw = ImageDraw.Draw(page)
    if not items:
        _draw_gap(draw, at, cell)
        return
    if len(items) == 1:
        across, tile = 1, cell
    room = SHARED * SHARED
    seen = items if len(items) <= room else items[: room - 1]
    for number, item in enumerate(seen):
        _draw_tile(page, _tile_at(at, number, across, tile), tile, item)
    if len(seen) < len(items):
        left, top = _tile_at(at, room - 1, across, tile)
        draw.text((left + tile[0] // 2, top + tile[1] // 2), f"+{len(items) - len(seen)}", QUIET, font(12), "mm")


def _tile_at(at: Size, number: int, across: int, tile: Size) -> Size:
    down, right = divmod(number, across)
    return at[0] + right * (tile[0] + TILE_GAP), at[1] + down * (tile[1] + TILE_GAP)


def _draw_tile(page: Image.Image, at: Size, tile: Size, item: Item) -> None:
    if item == Item(None):
        _draw_gap(ImageDraw.Draw(page), at, tile)
        return
    reason = item.reason
    if item.path is not None:
        try:
            picture = thumbnail(item.path, tile)
        except OSError:
            reason = "file missing" if not item.path.exists() else "file unreadable"
        else:
            x, y = at[0] + (tile[0] - picture.width) // 2, at[1] + (tile[1] - picture.height) // 2
            page.paste(picture, (x, y))
            # A hairline outside the picture: else a white one has no edge.
            ImageDraw.Draw(page).rectangle((x - 1, y - 1, x + picture.width, y + picture.height), outline=_EDGE)
            return
    _draw_failure(ImageDraw.Draw(page), at, tile, reason)


def _draw_gap(draw: ImageDraw.ImageDraw, at: Size, size: Size) -> None:
    (x, y), (width, height) = at, size
    draw.rectangle((x, y, x + width - 1, y + height - 1), _EMPTY)
    reach = max(4, min(width, height) // 16)
    draw.line((x + width // 2 - reach, y + height // 2, x + width // 2 + reach, y + height // 2), _DASH, 2)


def _draw_failure(draw: ImageDraw.ImageDraw, at: Size, tile: Size, reason: str) -> None:
    (x, y), (width, height) = at, tile
    draw.rectangle((x, y, x + width - 1, y + height - 1), _FAILED)
    for ends in ((x + 8, y + 8, x + width - 9, y + height - 9), (x + 8, y + height - 9, x + width - 9, y + 8)):
        draw.line(ends, _CROSS, 2)
    lines = wrap(reason, 11, width - 12, max(1, min(5, (height - 12) // line_height(11))))
    if width < 60 or not reason:
        return  # too narrow for a word
    tall, wide = len(lines) * line_height(11), text_width(lines, 11)
    top = y + (height - tall) // 2
    middle = x + width // 2
    draw.rectangle((middle - wide // 2 - 4, top - 3, middle + wide // 2 + 4, top + tall + 1), _FAILED)
    write_lines(draw, (middle, top), lines, 11, _REASON, "ma")
