"""Pictures made → files with their metadata, and a record of each."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sdbatch import __version__, modes
from sdbatch.render import device, fingerprint
from sdbatch.render.batch import Picture
from sdbatch.sources import acceleration, masks, remote
from sdbatch.sources.models import Model
from sdbatch.sources.names import Sources
from sdbatch.store import base as stores
from sdbatch.store import c2pa, images, metadata, watermark
from sdbatch.store.directory import now
from sdbatch.store.manifest import record
from sdbatch.types import Record, Row
from sdbatch.workers.task import Task


@dataclass(frozen=True, slots=True)
class Made:
    """A picture's pixels, and how they came about."""

    row: Row
    twins: tuple[Row, ...]
    picture: Picture
    model: Model
    size: int
    seconds: float
    safety: str | None = None
    judged: Judged | None = None


@dataclass(frozen=True, slots=True)
class Judged:
    """What a recipe's guard said.

    Attributes:
        used: the last attempt's seed, and what else it had otherwise than the row.
    """

    attempts: int
    used: Mapping[str, Any]
    scores: Mapping[str, float | str]

    @property
    def other(self) -> dict[str, Any]:
        """What of it changes bits and is in no `id`, for the fingerprint; nothing of a first attempt."""
        return {"used": dict(self.used)} if self.attempts > 1 else {}


class Writer:
    """Writes what a worker makes; may be used by several threads.

    Args:
        sources: finds the inputs whose hashes are recorded.
    """

    def __init__(self, task: Task, sources: Sources) -> None:
        self._task, self._sources = task, sources
        self._store = stores.at(remote.located(task.directory))
        self.device = device.describe(task.render.device)
        self._versions = device.versions()
        self._signer = c2pa.Signer(task.output.c2pa, task.base) if task.output.c2pa is not None else None

    def write(self, made: Made) -> list[Record]:
        """Write a picture once a file name; one record for every row alike in id.

        Raises:
            StoreError: the directory cannot be written.
            RowError: the picture cannot hold its watermark.
        """
        row, model, output = made.row, made.model, self._task.output
        uses = modes.get(row.params["mode"]).USES
        params = _made_with(made)
        other = {**made.picture.degraded, **(made.judged.other if made.judged is not None else {})}
        printed = self.fingerprint(made.size, model.hash, other, params.get("accelerate"))
        tunes = self._sources.finetunes.choose(params).listing()
        texts = images.Texts(
            parameters=metadata.parameters_text(params, model.name, model.hash, __version__, tunes),
            sdbatch=metadata.sdbatch_json(row.id, row.row, params, model.hash, printed, __version__, tunes),
        )
        if made.picture.scores:
            file = self._sources.inputs.find(params["image"]).sha256
            how = {
                **self._how(made, params),
                "scores": json.dumps(dict(made.picture.scores), sort_keys=True),
                "file_sha256": file,
                "pixel_sha256": images.pixel_sha256(made.picture.pixels),
                "fingerprint": printed,
            }
            return [record(one, uses, {**how, "finished_at": now()}) for one in (row, *made.twins)]
        mark = output.watermark
        pixels = made.picture.pixels if mark is None else watermark.embed(made.picture.pixels, mark)
        data = images.encode(pixels, output.format, output.quality, texts)
        if self._signer is not None:
            data = self._signer.sign(data, output.format, composite=params.get("image") is not None)
        how = {
            **self._how(made, params),
            "fine_tunes": json.dumps(tunes, sort_keys=True) if tunes else None,
            "file_sha256": hashlib.sha256(data).hexdigest(),
            "pixel_sha256": images.pixel_sha256(pixels),
            "watermark": mark,
            "watermark_bits": None if mark is None else watermark.share_in_file(data, mark),
            "fingerprint": printed,
        }
        everyone = (row, *made.twins)
        for path in dict.fromkeys(one.path for one in everyone):
            for name, array in made.picture.beside.items():
                if name.rstrip("0123456789") in output.save:
                    self._store.replace(images.beside(path, name), images.plain(name, array))
            self._store.replace(path, data)
        return [record(one, uses, {**how, "finished_at": now()}) for one in everyone]

    def _how(self, made: Made, params: Mapping[str, Any]) -> dict[str, Any]:
        """What a record says of a picture's making, that its pixels and its file do not show."""
        render = self._task.render
        return {
            "model_hash": made.model.hash,
            "image_sha256": self._sha256([params.get("image") or params.get("control_image")]),
            "mask_sha256": self._sha256(masks.names(params.get("mask"))),
            "safety": made.safety,
            "degraded": json.dumps(dict(made.picture.degraded), sort_keys=True) if made.picture.degraded else None,
            "device": self.device.kind,
            "dtype": render.dtype,
            "batch_size": made.size,
            "threads": render.threads if self.device.name == "cpu" else None,
            "versions": json.dumps(self._used(params.get("accelerate")), sort_keys=True),
            **_judged(made.judged),
            "seconds": round(made.seconds, 6),
            "run": self._task.run,
        }

    def _sha256(self, names: Sequence[Any]) -> str | None:
        """The content hash of the one picture that is named; None where there is none, or a list."""
        return self._sources.inputs.find(names[0]).sha256 if names and isinstance(names[0], str) else None

    def fingerprint(
        self, size: int, model_hash: str, degraded: Mapping[str, Any] | None = None, accelerate: Any = None
    ) -> str:
        """How pictures are made here; see `fingerprint.of`."""
        return fingerprint.of(self._task.render, self.device, self._used(accelerate), size, model_hash, degraded)

    def _used(self, accelerate: Any) -> dict[str, str]:
        """Versions of what decides a picture's pixels: of packages for speed-ups only where it has them."""
        return {**self._versions, **acceleration.versions(accelerate)}


def _made_with(made: Made) -> dict[str, Any]:
    """The parameters that a picture was made with, those of its last attempt: what it says of itself makes it again."""
    params = {**made.row.params, **(made.judged.used if made.judged is not None else {})}
    uses = modes.get(params["mode"]).USES
    return {name: value for name, value in params.items() if name in uses}


def _judged(judged: Judged | None) -> dict[str, Any]:
    if judged is None:
        return {}
    scores = json.dumps(dict(judged.scores), sort_keys=True) if judged.scores else None
    more = {name: value for name, value in judged.used.items() if name != "seed"}
    used = json.dumps(more, sort_keys=True) if more else None
    return {"attempts": judged.attempts, "seed_used": judged.used["seed"], "used": used, "scores": scores}
