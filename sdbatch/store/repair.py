"""Put a run directory in order, so that the next run makes what was lost; nothing that may be whole is thrown away."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

import pyarrow as pa

from sdbatch.errors import StoreError
from sdbatch.store import images, papers
from sdbatch.store.directory import NEEDED, RUNS, RunDirectory
from sdbatch.store.findings import Finding
from sdbatch.store.manifest import FAILURES, FOLDER, whole_part
from sdbatch.store.parts import part_bytes

QUARANTINE = "quarantine"
MOVABLE = ("images/", f"{FOLDER}/", f"{FAILURES}/")
AGAIN = "the next run makes it again"
_DONE = {
    "missing": f"taken out of the manifest; {AGAIN}",
    "torn": f"set aside and taken out of the manifest; {AGAIN}",
    "altered": f"set aside and taken out of the manifest; {AGAIN}",
    "orphan": "set aside",
    "temporary": "removed",
    "part": "set aside; the next run makes its rows again",
    "duplicate": "taken out of the manifest but for one line",
    "line": "taken out; the file as it was is set aside",
}


class Repair:
    """One repair of a directory whose lock is held.

    Attributes:
        aside: the folder, relative to the directory, where this repair puts what it takes away.
    """

    def __init__(self, directory: RunDirectory) -> None:
        self._directory, self._store = directory, directory.store
        self._beside: dict[str, dict[str | None, list[str]]] = {}
        self.aside = f"{QUARANTINE}/{datetime.now(UTC):%Y%m%dT%H%M%S%f}"

    def run(self, findings: Iterable[Finding]) -> tuple[Finding, ...]:
        """Repair what can be; what cannot comes back with `repaired` still None.

        Raises:
            StoreError: the directory cannot be written. What was repaired until then stays so.
        """
        findings = tuple(findings)
        unnamed = self._take_lines(findings) - set(self._named())
        for one in findings:
            if one.kind == "temporary":
                self._store.remove(one.path)
            elif one.kind == "line":
                self._keep_whole_lines(one.path)
            elif one.kind in ("part", "orphan"):
                self._set_aside(one.path)
        for path in sorted(unnamed):
            self._set_aside(path, *self._companions(path))
        return tuple(replace(one, repaired=_DONE.get(one.kind)) for one in findings)

    def _take_lines(self, findings: Iterable[Finding]) -> set[str]:
        """Take lines out, part by part, and keep them as parts in quarantine; gives the pictures they named.

        Of a row's several lines the first of those that are sound stays.
        """
        findings = list(findings)
        bad = {place for one in findings if one.kind != "duplicate" for place in one.lines}
        for one in findings:
            if one.kind == "duplicate":
                bad.update([place for place in one.lines if place not in bad][1:])
        parts: dict[str, set[int]] = {}
        for part, at in bad:
            parts.setdefault(part, set()).add(at)
        paths: set[str] = set()
        for part, gone in sorted(parts.items()):
            table = whole_part(self._store, part)
            taken = table.take(pa.array(sorted(gone), pa.int64()))
            kept = pa.array([at for at in range(table.num_rows) if at not in gone], pa.int64())
            paths.update(taken.column("path").to_pylist())
            self._store.replace(f"{self.aside}/{part}", part_bytes(taken))
            self._store.replace(part, part_bytes(table.take(kept)))
        return paths

    def _named(self) -> Iterable[str]:
        """The pictures that lines still name; a part that is not whole names none."""
        for part in self._store.list(FOLDER):
            with suppress(StoreError):
                yield from whole_part(self._store, part).column("path").to_pylist()

    def _companions(self, path: str) -> list[str]:
        """What `output.save` wrote beside a picture."""
        folder = path.rpartition("/")[0]
        if folder not in self._beside:
            found = self._beside[folder] = {}
            for other in self._store.list(folder) if _inside(path) else ():
                found.setdefault(images.beside_which(other), []).append(other)
        return self._beside[folder].get(path.rpartition(".")[0], [])

    def _set_aside(self, *paths: str) -> None:
        for path in paths:
            if _inside(path) and self._store.exists(path):
                self._store.move(path, f"{self.aside}/{path}")

    def _keep_whole_lines(self, name: str) -> None:
        data = self._store.read(name) or b""
        whole, _ = papers.split_lines(data, NEEDED if name == RUNS else papers.EVENT)
        self._store.replace(f"{self.aside}/{name}", data)
        self._store.replace(name, b"".join(line + b"\n" for line in whole))


def _inside(path: str) -> bool:
    """Whether a path, which may stand in a part of anyone's making, is that of a file to move."""
    return path.startswith(MOVABLE) and ".." not in path.split("/")
