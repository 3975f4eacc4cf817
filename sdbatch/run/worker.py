"""A worker: a lease in, records out. It knows nothing of Ray, and pixels never leave it."""

from __future__ import annotations

import hashlib
import json
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sdbatch import __version__, modes, plan
from sdbatch.errors import FlaggedError, ModelError, RowError, StoreError
from sdbatch.render import device
from sdbatch.render.batch import Picture
from sdbatch.render.renderer import Renderer
from sdbatch.render.safety import Checkers
from sdbatch.sources.models import Model
from sdbatch.sources.names import Sources
from sdbatch.store import c2pa, images, metadata, watermark
from sdbatch.store.base import LocalStore
from sdbatch.store.directory import now
from sdbatch.store.manifest import record
from sdbatch.types import Failure, Lease, LeaseResult, Output, Record, Render, Row


@dataclass(frozen=True, slots=True)
class Task:
    """What a worker is told once: where and how, the same for every lease of a run.

    Attributes:
        memory: the device's memory in GiB, which the batch table reads.
        base: relative model folders start here.
        pins: the commits of hub models.
    """

    run: str
    directory: Path
    base: Path
    render: Render
    output: Output
    memory: int
    pins: Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class _Made:
    """A picture's pixels, and how they came about."""

    row: Row
    twins: tuple[Row, ...]
    picture: Picture
    model: Model
    size: int
    seconds: float
    safety: str | None = None


class Worker:
    """Renders leases and writes their pictures.

    Args:
        stop: asked between batches; True ends the lease early, with what is done.
        on_batch: told how many rows each batch settled.
    """

    def __init__(
        self, task: Task, stop: Callable[[], bool] = lambda: False, on_batch: Callable[[int], None] = lambda rows: None
    ) -> None:
        self._task, self._stop, self._on_batch = task, stop, on_batch
        self._sources = Sources(task.base, task.pins)
        self._renderer = Renderer(task.render, self._sources)
        self._checkers = Checkers(task.render)
        self._store = LocalStore(task.directory)
        self._device = device.describe(task.render.device)
        self._versions = device.versions()
        self._signer = c2pa.Signer(task.output.c2pa, task.base) if task.output.c2pa is not None else None
        # Two threads: one picture is flushed to the disk while the next is compressed.
        self._writers = ThreadPoolExecutor(2, thread_name_prefix="write")

    def run(self, lease: Lease) -> LeaseResult:
        """Make the pictures of a lease, batch after batch; a failing row fails alone.

        Raises:
            StoreError: the directory cannot be written.
            ModelError: a model cannot be loaded.
        """
        groups = _alike(lease.rows)
        size = self._size(lease.rows[0])
        written: list[tuple[_Made, Future[list[Record]]]] = []
        failures: list[Failure] = []
        left: list[Row] = []
        for start in range(0, len(groups), size):
            batch = groups[start : start + size]
            if self._stop():
                left.extend(row for group in groups[start:] for row in group)
                break
            made, failed = self._batch(batch, size, lease.attempt)
            made, flagged = self._screened(made, lease.attempt)
            written.extend((one, self._writers.submit(self._write, one)) for one in made)
            failures.extend([*failed, *flagged])
            self._on_batch(sum(len(group) for group in batch))
        records: list[Record] = []
        for one, future in written:
            try:
                records += future.result()
            except RowError as error:  # a picture that its format cannot hold
                failures += [_failure(row, lease.attempt, error) for row in (one.row, *one.twins)]
        return LeaseResult(lease, tuple(records), tuple(failures), tuple(left), self.about())

    def about(self) -> dict[str, Any]:
        """What a progress line shows of this worker."""
        import os

        import psutil

        memory = psutil.Process().memory_info().rss
        return {"host": socket.gethostname(), "pid": os.getpid(), "device": self._device.name, "rss": memory}

    def _size(self, row: Row) -> int:
        params = row.params
        task = self._task
        return plan.batch_size(task.render, task.memory, params["width"], params["height"])

    def _batch(self, groups: Sequence[tuple[Row, ...]], size: int, attempt: int) -> tuple[list[_Made], list[Failure]]:
        """Render a batch; where it fails, each row once more by itself, at the same shape."""
        try:
            return self._render(groups, size, attempt)
        except (ModelError, StoreError):
            raise
        except Exception:  # whatever a model raises is one row's fault until shown otherwise
            made: list[_Made] = []
            failures: list[Failure] = []
            for group in groups:
                try:
                    one, lost = self._render([group], size, attempt)
                    made, failures = [*made, *one], [*failures, *lost]
                except Exception as error:
                    failures += [_failure(row, attempt, error) for row in group]
            return made, failures

    def _render(self, groups: Sequence[tuple[Row, ...]], size: int, attempt: int) -> tuple[list[_Made], list[Failure]]:
        rows = [group[0] for group in groups]
        model = self._sources.models.resolve(rows[0].params["model"], rows[0].params["revision"])
        began = time.perf_counter()
        found = self._renderer.render(rows, size)
        seconds = (time.perf_counter() - began) / len(rows)
        made, failures = [], []
        for group, one in zip(groups, found, strict=True):
            if isinstance(one, RowError):
                failures += [_failure(row, attempt, one) for row in group]
            else:
                made.append(_Made(group[0], group[1:], one, model, size, seconds))
        return made, failures

    def _screened(self, made: list[_Made], attempt: int) -> tuple[list[_Made], list[Failure]]:
        """Ask the models' safety checkers, where the job wants it; those flagged are kept or fail."""
        rule = self._task.output.safety
        if rule == "off":
            return made, []
        kept: list[_Made] = []
        failures: list[Failure] = []
        for one in made:
            verdict = self._checkers.verdict(one.model.path, one.picture.pixels)
            if verdict == "flagged" and rule == "drop":
                error = FlaggedError("the model's safety checker flagged the picture (safety: drop)")
                failures += [_failure(row, attempt, error) for row in (one.row, *one.twins)]
            else:
                kept.append(replace(one, safety=verdict))
        return kept, failures

    def _write(self, made: _Made) -> list[Record]:
        """Write a picture once a file name; one record for every row alike in id."""
        row, model = made.row, made.model
        output = self._task.output
        fingerprint = self.fingerprint(made.size, model.hash)
        uses = modes.get(row.params["mode"]).USES
        params = {name: value for name, value in row.params.items() if name in uses}
        texts = images.Texts(
            parameters=metadata.parameters_text(params, model.name, model.hash, __version__),
            sdbatch=metadata.sdbatch_json(row.id, row.row, params, model.hash, fingerprint, __version__),
        )
        mark = output.watermark
        pixels = made.picture.pixels if mark is None else watermark.embed(made.picture.pixels, mark)
        data = images.encode(pixels, output.format, output.quality, texts)
        if self._signer is not None:
            data = self._signer.sign(data, output.format, composite=params.get("image") is not None)
        how: dict[str, Any] = {
            "model_hash": model.hash,
            "image_sha256": self._input(params, "image"),
            "mask_sha256": self._input(params, "mask"),
            "file_sha256": hashlib.sha256(data).hexdigest(),
            "pixel_sha256": images.pixel_sha256(pixels),
            "safety": made.safety,
            "watermark": mark,
            "watermark_bits": None if mark is None else watermark.share_in_file(data, mark),
            "fingerprint": fingerprint,
            "device": self._device.kind,
            "dtype": self._task.render.dtype,
            "batch_size": made.size,
            "threads": self._task.render.threads if self._device.name == "cpu" else None,
            "versions": json.dumps(self._versions, sort_keys=True),
            "seconds": round(made.seconds, 6),
            "run": self._task.run,
        }
        everyone = (row, *made.twins)
        beside = [(name, made.picture.beside[name]) for name in output.save if name in made.picture.beside]
        for name, array in beside:
            for path in dict.fromkeys(one.path for one in everyone):
                self._store.replace(images.beside(path, name), images.plain_png(array))
        for path in dict.fromkeys(one.path for one in everyone):
            self._store.replace(path, data)
        return [record(one, uses, {**how, "finished_at": now()}) for one in everyone]

    def _input(self, params: Mapping[str, Any], name: str) -> str | None:
        """The content hash of an input picture; of a mask that is none, nothing."""
        value = params.get(name)
        return self._sources.content(name, value) if isinstance(value, str) else None

    def fingerprint(self, size: int, model_hash: str) -> str:
        """How pictures are made here: blake2b-80 over everything outside the id that changes bits."""
        render = self._task.render
        parts = {
            "device": self._device.kind,
            "versions": self._versions,
            "model": model_hash,
            "dtype": render.dtype,
            "batch_size": size,
            "threads": render.threads if self._device.name == "cpu" else None,
            "attention": render.attention,
            "compile": render.compile,
            "vae_tiling": render.vae_tiling,
            **({"vram": render.vram} if render.vram == "low" else {}),
        }
        return hashlib.blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=10).hexdigest()


def _alike(rows: Sequence[Row]) -> list[tuple[Row, ...]]:
    """Rows grouped by id, in order."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.id, []).append(row)
    return [tuple(group) for group in groups.values()]


def _failure(row: Row, attempt: int, error: Exception) -> Failure:
    message = " ".join(str(error).split())[:2000] or type(error).__name__
    return Failure(row.id, row.row, attempt, type(error).__name__, message, now(), socket.gethostname())
