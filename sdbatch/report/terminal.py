"""Lines at the end of a terminal that are drawn again and again, in one place whatever its width becomes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderHook, RenderResult
from rich.control import Control
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn
from rich.segment import ControlType, Segment


def bars() -> Progress:
    """Bars on standard error; a task has the fields `count` and `about`.

    Drawn once a second, for nothing moves but the counts; and what is drawn while a terminal has wrapped its lines but
    has not told its width yet, as with some for a quarter of a second, is left standing once.
    """
    columns = [TextColumn("{task.description}"), BarColumn()]
    columns += [TextColumn("{task.fields[count]}", justify="right"), TextColumn("{task.fields[about]}")]
    return Progress(*columns, console=Console(stderr=True), refresh_per_second=1)


@contextmanager
def steady(live: Live | Progress) -> Iterator[None]:
    """Start a display, and stop it at the end.

    Rich goes back over as many lines as it drew. A terminal that was made narrower since has wrapped them, to more;
    those are gone back over here. A terminal that cuts lines off in place of wrapping them loses as many lines above.
    """
    hook = _Wrapped(live.console)
    live.start()
    live.console.push_render_hook(hook)  # after the display's own, whose drawing it looks at
    try:
        yield
    finally:
        live.console.pop_render_hook()
        live.stop()


class _Wrapped(RenderHook):
    """Knows how wide the lines are that were drawn last."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self.widths: list[int] = []

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        if not self._console.is_interactive or not renderables:
            return renderables
        more = sum((width - 1) // self._console.width for width in self.widths if width)
        up = ((ControlType.CURSOR_UP, 1), (ControlType.ERASE_IN_LINE, 2))
        start = Control(ControlType.CARRIAGE_RETURN, (ControlType.ERASE_IN_LINE, 2), *(up * more))
        return [start, *renderables[:-1], _Noted(renderables[-1], self)]


class _Noted:
    """Draws what it is given, without the spaces at the ends of lines, and notes how wide each line is."""

    def __init__(self, shown: ConsoleRenderable, hook: _Wrapped) -> None:
        self._shown, self._hook = shown, hook

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        lines = list(Segment.split_lines(console.render(self._shown, options)))
        self._hook.widths = []
        for number, line in enumerate(lines):
            if number:
                yield Segment.line()
            text = "".join(segment.text for segment in line if not segment.control)
            kept = Segment.get_line_length([Segment(text.rstrip())])
            self._hook.widths.append(kept)
            yield from Segment.adjust_line_length(list(line), kept)
