"""sdbatch in a notebook: run a job, then look at what it made."""

from __future__ import annotations

import html
import io
import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdbatch import prepare
from sdbatch.api import looking, reporting, telling
from sdbatch.api.running import RunReport
from sdbatch.api.working import RunOptions
from sdbatch.report.progress import Progress

if TYPE_CHECKING:
    import pandas as pd
    from PIL import Image

    from sdbatch.report.status import Status


class Sheet:
    """A contact sheet; Jupyter shows its first page.

    Attributes:
        paths: a file a page.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = list(paths)

    @property
    def image(self) -> Image.Image:
        """The first page."""
        from PIL import Image

        with Image.open(self.paths[0]) as image:
            image.load()
            return image.copy()

    def _repr_png_(self) -> bytes:
        data = io.BytesIO()
        self.image.save(data, "PNG")
        return data.getvalue()

    def __repr__(self) -> str:
        return f"Sheet({', '.join(map(str, self.paths))})"


class Run:
    """A run directory.

    Attributes:
        directory: where it is.
        report: what `run` came to; None where the directory was only opened.
    """

    def __init__(self, directory: Path, report: RunReport | None = None) -> None:
        self.directory, self.report = directory, report

    @cached_property
    def _there(self) -> Any:
        return prepare.readable(self.directory)

    @property
    def manifest(self) -> pd.DataFrame:
        """One line a picture, as it is now; `path` is relative to the directory.

        Raises:
            StoreError: a part of it is broken.
        """
        found: pd.DataFrame = self._there.manifest().read().to_pandas()
        return found

    @property
    def failures(self) -> pd.DataFrame:
        """One line a failed attempt."""
        found: pd.DataFrame = self._there.manifest().failures().to_pandas()
        return found

    @property
    def status(self) -> Status:
        """How far it is."""
        return looking.status(self.directory)

    def image(self, row: str) -> Image.Image:
        """The picture of a row, by its key in the manifest's column `row`.

        Raises:
            KeyError: no picture of such a row is made.
        """
        from PIL import Image

        table = self._there.manifest().read(["row", "path"])
        paths = dict(zip(table.column("row").to_pylist(), table.column("path").to_pylist(), strict=True))
        path = paths.get(str(row))  # who gives a whole line hears of it too
        if path is None:
            raise KeyError(f"{str(row)[:40]!r} is no key of a row that is made: see the manifest's column `row`")
        with Image.open(io.BytesIO(self._there.store.read(path) or b"")) as image:
            return image.convert("RGB")

    def sheet(self, x: str | None = None, y: str | None = None, by: str | None = None) -> Sheet:
        """A contact sheet, as `sdbatch sheet` draws it.

        Raises:
            UsageError: there is no such axis, or no picture.
        """
        return Sheet(looking.sheet(self.directory, x=x, y=y, by=by))

    def page(self, out: str | Path | None = None) -> Path:
        """Write the page that `sdbatch report` writes; gives its path."""
        return Path(reporting.report(self.directory, None if out is None else Path(out)).path)

    def __repr__(self) -> str:
        return f"Run({str(self.directory)!r})"

    def _repr_html_(self) -> str:
        now = self.status
        told = {"done": now.done, "failed": now.failed, "left": now.left, "dropped": now.dropped or None}
        cells = "".join(
            f"<tr><th>{name}</th><td>{count:,}</td></tr>" for name, count in told.items() if count is not None
        )
        return f"<b>{html.escape(now.job)}</b> in <code>{html.escape(str(self.directory))}</code><table>{cells}</table>"


def run(
    job: str | Path,
    *,
    out: str | Path | None = None,
    set: Mapping[str, Any] | None = None,
    model: str | None = None,
    quiet: bool = False,
    **options: Any,
) -> Run:
    """Make what is left of a job, as `sdbatch run` does, and give its directory.

    Args:
        job: a spec, a table, or a run directory to go on with.
        out: the run directory; what the spec says if it is None.
        set: values over the spec's, by dotted key: `{"grid.seed": [1, 2]}`.
        model: the model, where a table names none.
        quiet: say nothing on standard error.
        options: of RunOptions, such as `limit=4` or `executor="local"`.

    Raises:
        SpecError: the job is wrong; its text has every mistake with file and line.
        UsageError, ModelError, RefusedError: it cannot be run as asked.
        BusyError: another run holds the directory.
        StoreError: the directory cannot be written.
        TypeError: there is no such option.
    """
    overrides = [f"{key}={json.dumps(value)}" for key, value in (set or {}).items()]
    ready = prepare.job(Path(job), out=None if out is None else Path(out), overrides=overrides, model=model)
    with Progress(quiet=quiet) as progress:
        report = telling.run(ready, RunOptions(**options), progress)
    progress.say(report.summary(progress.seconds))
    return Run(ready.directory.path, report)


def open_run(directory: str | Path) -> Run:
    """A run directory that is there.

    Raises:
        StoreError: it is none.
    """
    return Run(prepare.readable(Path(directory)).path)
