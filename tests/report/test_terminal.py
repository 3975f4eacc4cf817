"""What is drawn again and again stays in one place while the terminal's width changes."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console, ConsoleDimensions
from rich.live import Live
from rich.text import Text

from sdbatch.report import terminal
from sdbatch.report.progress import Progress


class Screen(io.StringIO):
    """A terminal that wraps lines again when its width changes, as most do; it knows what rich writes.

    Each line is a row and whether the next one goes on with it.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width, self.row = width, 0
        self.rows: list[tuple[str, bool]] = [("", False)]

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        for code, mark, rest in re.findall(r"\x1b\[([\d;?]*)([A-Za-z])|([^\x1b]+)", text):
            if mark == "A":
                self.row -= int(code)
            elif mark == "K":
                self.rows[self.row] = ("", False)
            for character in rest:
                self._put(character)
        return len(text)

    def _put(self, character: str) -> None:
        if character == "\r":
            return  # rich erases the line then, which is what puts what follows at its start
        text, _ = self.rows[self.row]
        full = len(text) == self.width
        if character == "\n" or full:
            self.rows[self.row] = (text, full and character != "\n")
            self.row += 1
            if self.row == len(self.rows):
                self.rows.append(("", False))
            text = self.rows[self.row][0]
        if character != "\n":
            self.rows[self.row] = (text + character, False)

    def resize(self, width: int) -> None:
        lines, line = [], ""
        for text, goes_on in self.rows[: self.row + 1]:  # the cursor is at the end of what was drawn
            line += text
            if not goes_on:
                lines.append(line)
                line = ""
        self.width, self.rows = width, []
        for line in lines:
            parts = [line[at : at + width] for at in range(0, len(line), width)] or [""]
            self.rows += [(part, part is not parts[-1]) for part in parts]
        self.row = len(self.rows) - 1

    @property
    def text(self) -> list[str]:
        """What can be read, without the spaces at the ends of lines and the empty lines below."""
        return "\n".join(text.rstrip() for text, _ in self.rows).rstrip().split("\n")


def shown(monkeypatch: pytest.MonkeyPatch) -> Screen:
    """In place of standard error, whose width rich asks for each time that it draws."""
    screen = Screen(100)
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setattr(Console, "width", property(lambda self: screen.width))
    monkeypatch.setattr(Console, "size", property(lambda self: ConsoleDimensions(screen.width, 30)))
    monkeypatch.setenv("TERM", "xterm-256color")
    return screen


def test_a_display_is_drawn_over_itself_at_every_width(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = shown(monkeypatch)
    console = Console(stderr=True)
    live = Live(console=console, auto_refresh=False)
    with terminal.steady(live):
        for number, width in enumerate([100, 40, 70, 25, 120, 60]):
            screen.resize(width)
            long, short = "x" * (width - 1) + str(number), f"short {number}  "
            live.update(Text(f"{long}\n{short}"), refresh=True)
            console.print(f"said {number}")
            assert screen.text == [*(f"said {one}" for one in range(number + 1)), long, short.rstrip()]
    assert screen.text[-2:] == [long, short.rstrip()]


def test_progress_survives_a_resize(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = shown(monkeypatch)
    with Progress(quiet=False) as progress:
        progress.start("eight rows", 8)
        progress.rows(2)
        progress._bars.refresh()
        assert screen.text[0] == "eight rows" and len(screen.text) == 2 and " 2/8 " in screen.text[1]
        screen.resize(60)
        assert len(screen.text) > 2
        progress.rows(2)
        progress._bars.refresh()
        assert screen.text[0] == "eight rows" and len(screen.text) == 2 and "4/8" in screen.text[1]
    progress.say("ended")
    assert [line.split()[0] for line in screen.text] == ["eight", "rows", "ended"]
