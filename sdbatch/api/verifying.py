"""Make rows again from the manifest alone, and compare them with what it records."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from sdbatch import errors, prepare
from sdbatch.api import amounts, places
from sdbatch.api.again import WITHIN, Again, Verified
from sdbatch.api.comparing import DIFFERENT, EXACT, FAILED
from sdbatch.api.places import Place
from sdbatch.parameters import PARAMETERS
from sdbatch.report.progress import Progress
from sdbatch.sources.hidden import Hidden
from sdbatch.spec.keys import SHARED
from sdbatch.spec.paths import NAMING
from sdbatch.store.directory import JOB, RunDirectory
from sdbatch.store.manifest import parameters

TOLERANCE = 2.0
RESULTS = (EXACT, WITHIN, DIFFERENT, FAILED)
_CHUNK = 1024


class Watcher(Protocol):
    """Who is told how it goes on."""

    def start(self, text: str, left: int) -> None:
        """So many rows are about to be made."""

    def rows(self, count: int) -> None:
        """So many more rows were made and compared."""


@dataclass(frozen=True)
class VerifyReport:
    """What rows made again came to.

    Attributes:
        rows: lines of the manifest.
        verified: how many of them were made again, and compared.
        tolerance: levels of 255 that a picture may be apart.
        sampled: whether only some of the rows were drawn.
        counts: how many came to each result.
        reasons: what is otherwise here, and for how many rows that were not exact.
        pictures: the rows that were not exact, or of which there is something to say; of a sample all.
    """

    directory: str
    rows: int
    verified: int
    tolerance: float
    sampled: bool
    counts: Mapping[str, int]
    reasons: Mapping[str, int]
    pictures: tuple[Verified, ...]
    stopped: bool = False
    schema: int = 1

    @property
    def exit_code(self) -> int:
        """1 where a row is different, or could not be made."""
        if self.stopped:
            return errors.EXIT_INTERRUPTED
        wrong = self.counts.get(DIFFERENT, 0) + self.counts.get(FAILED, 0)
        return errors.EXIT_ROWS_FAILED if wrong else errors.EXIT_OK

    def as_json(self) -> dict[str, Any]:
        """Plain values: the fields, and `exit_code`."""
        return {**asdict(self), "exit_code": self.exit_code}


def verify(
    path: Path,
    watcher: Watcher | None = None,
    *,
    sample: str | None = None,
    tolerance: float = TOLERANCE,
    stopping: Callable[[], bool] = lambda: False,
) -> VerifyReport:
    """Make rows of a run directory again and compare them; nothing is written there, and no lock is taken.

    Args:
        watcher: who is told how it goes on; None tells nobody.
        sample: a number of rows, or a share such as `5%`, drawn by what the directory holds; None takes all.
        tolerance: levels of 255 that a picture may be apart and not be called different.

    Raises:
        StoreError: it is no run directory, or cannot be read.
        UsageError: `sample` is no amount.
    """
    watcher = watcher or Progress(quiet=True)
    directory = RunDirectory(path)
    path = directory.path
    if not directory.present:
        raise errors.StoreError(f"{path}: not a run directory (it has no manifest)")
    if not tolerance >= 0:
        raise errors.UsageError(f"--tolerance {tolerance}: give levels of 255, such as 2")
    whole = directory.manifest().read()
    table = whole if sample is None else _drawn(whole, amounts.of("--sample", sample, whole.num_rows))
    runs = {run["run"]: run for run in directory.runs()}
    work = Again(directory, runs, _places(path, runs, table), tolerance)
    watcher.start(f"{path}: {table.num_rows} of {whole.num_rows} rows to make again", table.num_rows)
    counts: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    kept: list[Verified] = []
    for verified in work.verify(_lines(table), stopping):
        watcher.rows(1)
        counts[verified.result] += 1
        reasons.update(verified.reasons)
        if sample is not None or not verified.plain:
            kept.append(verified)
    return VerifyReport(
        directory=str(path),
        rows=whole.num_rows,
        verified=counts.total(),
        tolerance=tolerance,
        sampled=sample is not None,
        counts={name: counts[name] for name in RESULTS if counts[name]},
        reasons=dict(reasons),
        pictures=tuple(kept),
        stopped=counts.total() < table.num_rows,
    )


def _drawn(table: pa.Table, most: float) -> pa.Table:
    """Some rows, at least one: the same ones each time, as long as the manifest holds the same pictures."""
    table = table.sort_by("row")
    mark = hashlib.blake2b()
    for name in ("row", "pixel_sha256"):
        mark.update("\n".join(map(str, table.column(name).to_pylist())).encode())
    count = min(table.num_rows, max(1, round(most)))
    return table.take(sorted(random.Random(mark.digest()).sample(range(table.num_rows), count)))


def _lines(table: pa.Table) -> Iterator[dict[str, Any]]:
    """Lines in an order in which batches, and then models, stand side by side."""
    names = [name for name in PARAMETERS if name not in SHARED]
    order = ["model", *(name for name in names if name != "model"), "run", "batch_size", "degraded", "guidance_scale"]
    for batch in table.sort_by([(name, "ascending") for name in (*order, "id")]).to_batches(max_chunksize=_CHUNK):
        yield from batch.to_pylist()


def _places(path: Path, runs: Mapping[str, Mapping[str, Any]], table: pa.Table) -> dict[str, Place]:
    """Where what each run's rows name lies now."""
    columns = ["mode", *sorted(NAMING)]
    found = {}
    hidden = _hidden(path)
    for run in pc.unique(table.column("run")).to_pylist():
        lines = table.filter(pc.equal(table.column("run"), run)).select(columns).group_by(columns).aggregate([])
        named: list[str] = []
        for batch in lines.to_batches(max_chunksize=_CHUNK):
            for line in batch.to_pylist():
                try:
                    named += places.named(parameters(line))
                except (ValueError, errors.UsageError):
                    continue  # its row will say why
        found[run] = replace(places.of_run(path, runs.get(run, {}), named), hidden=hidden)
    return found


def _hidden(path: Path) -> Hidden | None:
    """The inputs of a directory that keeps no names; whoever verifies it must have them.

    Raises:
        SpecError: they are not given.
    """
    text = RunDirectory(path).store.read(JOB) or b""
    if b"recipe: anonymize" not in text:
        return None
    recipe = prepare.job(path / JOB, out=path, allow_mixed=True, adopt=True).spec.recipe
    return None if recipe is None else recipe.hidden
