"""sdbatch export: a run directory as a data set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sdbatch import export as formats
from sdbatch import prepare
from sdbatch.api import places
from sdbatch.errors import StoreError, UsageError
from sdbatch.export import card
from sdbatch.export.lines import SUMS, Mask, Target, lines
from sdbatch.sources import files, remote
from sdbatch.store import base as stores
from sdbatch.store.directory import JOB

PER_SHARD = 1000


@dataclass(frozen=True)
class ExportReport:
    """What was exported.

    Attributes:
        files: how many there are.
        written: how many of them were not there before.
    """

    directory: str
    format: str
    pictures: int
    splits: Mapping[str, int]
    files: int
    written: int
    schema: int = 1


def export(directory: Path, to: str, out: Path, *, per_shard: int = PER_SHARD) -> ExportReport:
    """Write a run's pictures as a data set, the same files each time; what is there already stays.

    Args:
        to: one of `sdbatch.export.FORMATS`.
        out: the data set's folder.
        per_shard: pictures a shard, of formats with shards.

    Raises:
        UsageError: there is no such format, or nothing to export.
        StoreError: a picture is gone or altered, or the folder cannot be written.
    """
    if to not in formats.FORMATS:
        raise UsageError(f"--to {to!r}: one of {', '.join(formats.FORMATS)}")
    there = prepare.readable(directory)
    found = lines(there.manifest().read())
    if not found:
        raise UsageError(f"{there.store.shown()}: no picture is made yet")
    store = stores.at(remote.located(out))
    target = Target(there.store, store, per_shard, partial(_find, there.path, there.runs()))
    formats.get(to).write(found, target)
    job = (there.store.read(JOB) or b"").decode()
    runs = there.runs()
    name = str(runs[-1]["job"]) if runs else there.path.name
    target.put("README.md", card.text(found, name, to, runs, job).encode())
    _check_rest(store, target)
    sums = "".join(f"{digest}  {path}\n" for path, digest in sorted(target.sums.items()))
    target.put(SUMS, sums.encode())
    splits = dict(sorted(Counter(line.split for line in found).items()))
    return ExportReport(store.shown(), to, len(found), splits, len(target.sums), target.written)


def _find(directory: Path, runs: Sequence[Mapping[str, Any]], mask: Mask) -> Path:
    """Where a mask lies: where the run's rows have their pictures."""
    candidates = [base for run in reversed(runs) for base in places.bases(directory, run)]
    return files.at(places.nearest(candidates, [mask.name, mask.beside]).path, mask.name)


def _check_rest(store: stores.Store, target: Target) -> None:
    """Files of an earlier export that are not of this one would be read with it."""
    before = (store.read(SUMS) or b"").decode("utf-8", "replace").splitlines()
    rest = sorted({line.partition("  ")[2] for line in before} - target.sums.keys() - {""})
    rest = [path for path in rest if ".." not in path.split("/") and not path.startswith("/") and store.exists(path)]
    if rest:
        raise StoreError(
            f"{store.shown()}: holds {len(rest)} files of an earlier export, such as {rest[0]}; take them away, or "
            "choose another --out"
        )
