"""Lines of a manifest → pictures made again → how far they are from what was recorded."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from sdbatch.api import evidence
from sdbatch.api.comparing import DIFFERENT, EXACT, FAILED, Distance, apart, sizes
from sdbatch.api.places import Place
from sdbatch.api.ways import Way, Ways
from sdbatch.errors import ModelError, RowError, StoreError
from sdbatch.sources.names import Sources
from sdbatch.spec.known import Known, known
from sdbatch.store import images, watermark
from sdbatch.store.directory import RunDirectory
from sdbatch.store.manifest import parameters, row
from sdbatch.types import Row

if TYPE_CHECKING:
    from sdbatch.render.batch import Picture
    from sdbatch.render.renderer import Renderer

WITHIN = "within tolerance"


@dataclass(frozen=True)
class Verified:
    """One row, made again.

    Attributes:
        result: exact (the same pixels), within tolerance, different, or not made.
        about: what there is to say of it.
        apart: how far from the picture's file; None where that is not known, or exact.
        reasons: what is otherwise here than when it was made.
    """

    row: str
    id: str
    path: str
    result: str
    about: str = ""
    apart: Distance | None = None
    reasons: tuple[str, ...] = ()

    @property
    def plain(self) -> bool:
        """Whether it is exact, and there is nothing more to say."""
        return self.result == EXACT and not self.about and not self.reasons


@dataclass(frozen=True)
class _Ready:
    """A line, and what its picture can be made by."""

    line: Mapping[str, Any]
    row: Row
    known: Known
    way: Way
    sources: Sources

    @property
    def kind(self) -> tuple[Any, ...]:
        """What rows of one batch have in common."""
        return id(self.sources), self.way, self.known.key


class Again:
    """Makes rows again.

    Args:
        runs: what runs.jsonl has of each run, by name.
        places: where what each run's rows name lies, by name.
        tolerance: levels of 255.
    """

    def __init__(
        self,
        directory: RunDirectory,
        runs: Mapping[str, Mapping[str, Any]],
        places: Mapping[str, Place],
        tolerance: float,
    ) -> None:
        self._directory, self._runs, self._places, self._tolerance = directory, runs, places, tolerance
        self._ways = Ways(list(runs.values()))
        self._sources: dict[Place, Sources] = {}
        self._renderer: tuple[tuple[int, Any], Renderer] | None = None

    def verify(self, lines: Iterable[Mapping[str, Any]], stopping: Callable[[], bool]) -> Iterator[Verified]:
        """Make lines again, batch after batch; best where those of one kind stand side by side."""
        batch: list[_Ready] = []
        for line in lines:
            ready = self._ready(line)
            if isinstance(ready, Verified):
                yield ready
                continue
            full = len({one.known.id for one in (*batch, ready)}) > ready.way.size
            if batch and (full or batch[0].kind != ready.kind):
                yield from self._batch(batch)
                batch = []
                if stopping():
                    return
            batch.append(ready)
        if batch and not stopping():
            yield from self._batch(batch)

    def _ready(self, line: Mapping[str, Any]) -> _Ready | Verified:
        try:
            place = self._places[line["run"]]
            sources = self._sources.setdefault(place, place.sources())
            found = known(parameters(line), sources)
            return _Ready(line, row(line, found.params), found, self._ways.of(line), sources)
        except Exception as error:  # whatever a damaged line or a missing model raises is this row's
            return _not_made(line, error)

    def _batch(self, batch: list[_Ready]) -> Iterator[Verified]:
        made = self._made({one.known.id: one for one in batch})
        for one in batch:
            picture = made[one.known.id]
            try:
                if isinstance(picture, Exception):
                    yield _not_made(one.line, picture, self._changed(one))
                else:
                    yield self._compared(one, picture)
            except (RowError, StoreError) as error:
                yield _not_made(one.line, error)

    def _made(self, rows: Mapping[str, _Ready]) -> dict[str, Picture | Exception]:
        """A picture of each row, or why there is none; rows of a batch that fails are made one by one."""
        from sdbatch.render import memory

        ready = list(rows.values())
        way = ready[0].way
        try:
            renderer = self._renderer_for(ready[0])
            found = renderer.render([one.row for one in ready], way.size, precise=way.precise, tiled=way.tiled)
            return dict(zip(rows, found, strict=True))
        except Exception as error:  # whatever a model raises is one row's fault until shown otherwise
            if len(rows) == 1 or isinstance(error, ModelError) or memory.ran_out(error):
                return dict.fromkeys(rows, error)
        return {name: self._made({name: one})[name] for name, one in rows.items()}

    def _renderer_for(self, ready: _Ready) -> Renderer:
        from sdbatch.render.renderer import Renderer

        key = (id(ready.sources), ready.way.render)
        if self._renderer is None or self._renderer[0] != key:
            self._renderer = None  # free its models before others are loaded
            self._renderer = key, Renderer(ready.way.render, ready.sources)
        return self._renderer[1]

    def _compared(self, ready: _Ready, picture: Picture) -> Verified:
        line = ready.line
        pixels, mark = picture.pixels, line["watermark"]
        if mark is not None:
            pixels = watermark.embed(pixels, mark)
        data, faults = self._file(line)
        changed = self._changed(ready)
        if images.pixel_sha256(pixels) == line["pixel_sha256"]:
            return _verified(line, EXACT, faults, reasons=changed)
        reasons = [*changed, *self._ways.reasons(line, ready.way, ready.known.model_hash)]
        if not reasons:
            faults.append("nothing that the fingerprint holds is otherwise here")
        before = None
        try:
            before = None if data is None else images.decode(data)
        except Exception as error:  # Pillow raises all sorts over broken files
            faults.append(f"its file cannot be decoded: {' '.join(str(error).split())[:200]}")
        if before is None:
            faults.append("how far apart is not known")
            return _verified(line, DIFFERENT, faults, reasons=reasons)
        after = images.decode(self._encoded(line, pixels))
        if before.shape != after.shape:
            return _verified(line, DIFFERENT, [*faults, f"of another size: {sizes(before, after)}"], reasons=reasons)
        distance = apart(before, after)
        result = WITHIN if distance.max <= self._tolerance else DIFFERENT
        return _verified(line, result, faults, distance, reasons)

    def _changed(self, ready: _Ready) -> list[str]:
        return evidence.changed(ready.line, ready.known, ready.sources, self._runs.get(ready.line["run"], {}))

    def _file(self, line: Mapping[str, Any]) -> tuple[bytes | None, list[str]]:
        """A picture's file, and what is wrong with it."""
        try:
            data = self._directory.store.read(line["path"])
        except StoreError as error:
            return None, [f"its file cannot be read: {error}"]
        if data is None:
            return None, ["its file is gone"]
        whole = hashlib.sha256(data).hexdigest() == line["file_sha256"]
        return data, [] if whole else ["its file is not the one that was written"]

    def _encoded(self, line: Mapping[str, Any], pixels: Any) -> bytes:
        """Pixels as a file of the same format: what a lossy one takes away from both is no difference."""
        suffix = PurePosixPath(line["path"]).suffix.removeprefix(".")
        output = self._runs.get(line["run"], {}).get("output", {})
        return images.encode(pixels, {"jpg": "jpeg"}.get(suffix, suffix), output.get("quality"), images.Texts("", ""))


def _verified(
    line: Mapping[str, Any],
    result: str,
    about: Iterable[str],
    distance: Distance | None = None,
    reasons: Iterable[str] = (),
) -> Verified:
    return Verified(line["row"], line["id"], line["path"], result, "; ".join(about), distance, tuple(reasons))


def _not_made(line: Mapping[str, Any], error: Exception, reasons: Iterable[str] = ()) -> Verified:
    said = " ".join(str(error).split())[:2000]
    return _verified(line, FAILED, [f"{type(error).__name__}: {said}" if said else type(error).__name__], None, reasons)
