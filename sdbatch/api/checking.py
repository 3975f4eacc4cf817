"""Check a run directory, and put it in order."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sdbatch import errors
from sdbatch.store import fsck as checks
from sdbatch.store.directory import JOB, RunDirectory
from sdbatch.store.findings import Finding
from sdbatch.store.owner import holder
from sdbatch.store.repair import Repair


@dataclass(frozen=True)
class FsckReport:
    """What was looked at, and what is or was wrong.

    Attributes:
        rows: lines of the manifest.
        pictures: files they name.
        findings: in no order of weight; `docs/recovery.md` says what each kind means.
        held_by: the run at work there; pictures without a line and temporary files were then not looked for.
        quarantine: the folder in the directory that holds what was set aside; None where nothing was.
    """

    directory: str
    rows: int
    pictures: int
    findings: tuple[Finding, ...]
    held_by: str | None = None
    quarantine: str | None = None
    schema: int = 1

    @property
    def exit_code(self) -> int:
        """0 where nothing is wrong, or all of it was repaired."""
        return errors.EXIT_OK if all(one.repaired for one in self.findings) else errors.EXIT_ROWS_FAILED

    @property
    def counts(self) -> dict[str, int]:
        """How many findings of each kind."""
        return dict(Counter(one.kind for one in self.findings))

    def as_json(self) -> dict[str, Any]:
        """Plain values: the fields, and `counts`."""
        found = asdict(self)
        for one in found["findings"]:
            del one["lines"]
        return {**found, "counts": self.counts}


def fsck(path: Path, *, repair: bool = False) -> FsckReport:
    """Look for pictures, parts and papers that are missing, torn, altered or left over.

    Args:
        repair: take what is wrong out, so that the next run makes it again; what may be whole is set aside.

    Raises:
        StoreError: it is no run directory, or cannot be read or written.
        BusyError: a run holds the directory, which can then not be repaired.
    """
    directory = RunDirectory(path)
    if not directory.present:
        raise errors.StoreError(f"{path}: not a run directory (it has no {JOB})")
    if not repair:
        owner = holder(path)
        found = checks.find(directory, live=owner is not None)
        return FsckReport(str(path), found.rows, found.pictures, found.findings, str(owner) if owner else None)
    with directory.lock():
        found = checks.find(directory)
        work = Repair(directory)
        findings = work.run(found.findings)
        aside = work.aside if (path / work.aside).is_dir() else None
        return FsckReport(str(path), found.rows, found.pictures, findings, quarantine=aside)
