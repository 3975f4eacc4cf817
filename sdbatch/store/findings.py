"""What may be wrong with a run directory, in words."""

from __future__ import annotations

from dataclasses import dataclass

KINDS = {
    "missing": "a line names a picture that is not there",
    "torn": "a picture cannot be decoded to its end, or is empty",
    "altered": "a picture is whole, but not the file that was written",
    "orphan": "a file under images/ that no line names",
    "temporary": "a file that a killed run had not finished",
    "part": "a part of manifest/ or failures/ that is cut, altered, or no part",
    "duplicate": "a row that stands in the manifest more than once",
    "line": "lines of runs.jsonl or log.jsonl that cannot be read",
    "job": "job.yaml is missing, damaged, or not as the last run wrote it",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        kind: one of KINDS.
        path: the file, relative to the directory, with `/`.
        rows: keys of the rows that it takes with it.
        pixels: of an altered lossless picture: whether they are those recorded, `same` or `different`.
        lines: part and place of the manifest lines that are wrong.
        repaired: what was done about it.
    """

    kind: str
    path: str
    message: str
    rows: tuple[str, ...] = ()
    pixels: str | None = None
    lines: tuple[tuple[str, int], ...] = ()
    repaired: str | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """What was looked at, and what is wrong."""

    rows: int
    pictures: int
    findings: tuple[Finding, ...]
