"""How lines of a manifest were made, as far as this machine can make them again, and what is otherwise here."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from sdbatch import __version__
from sdbatch.errors import RowError, UsageError
from sdbatch.render import device, fingerprint
from sdbatch.sources import acceleration
from sdbatch.spec.schema import RENDER, Setting
from sdbatch.types import Render

_FIELDS = [field.name for field in fields(Render)]


@dataclass(frozen=True)
class Way:
    """How rows are made again.

    Attributes:
        render: the settings. Memory that runs out is never met by other bits.
        size: the batch shape.
        precise, tiled: what was done to the VAE, for want of numbers or of memory; see `Renderer.render`.
    """

    render: Render
    size: int
    precise: bool
    tiled: bool


class Ways:
    """Looks up how lines were made.

    Args:
        runs: what runs.jsonl has of each run.
    """

    def __init__(self, runs: Sequence[Mapping[str, Any]]) -> None:
        self._runs = {run["run"]: run for run in runs}
        self._usual = device.settings({})
        self._versions = device.versions()
        self._devices: dict[str, device.Device | None] = {}

    def of(self, line: Mapping[str, Any]) -> Way:
        """The way that a line records, on the device of its kind or else the one that is here.

        Raises:
            RowError: the line says nothing that could be done.
        """
        known = self._runs.get(line["run"], {}).get("render", {})
        values = {**asdict(self._usual), **{name: known[name] for name in _FIELDS if name in known}}
        name = str(line["device"] or values["device"]).partition(" ")[0]
        values["device"] = name if self._device(name) else self._usual.device
        values["dtype"] = line["dtype"] or values["dtype"]
        if values["device"] == "cpu" and values["dtype"] == "float16":
            values["dtype"] = "float32"  # CPUs have no kernels for it
        values["threads"] = line["threads"] or values["threads"]
        values |= {"batch_size": line["batch_size"], "oom": "fail"}
        for name, setting in RENDER.items():
            if not _allowed(setting, values[name]):
                raise RowError(f"{name} {values[name]!r}: nothing can be made so")
        degraded = _degraded(line)
        return Way(
            Render(**values),
            values["batch_size"],
            degraded.get("vae_dtype") == "float32",
            bool(degraded.get("vae_tiling")),
        )

    def reasons(self, line: Mapping[str, Any], way: Way, model_hash: str) -> list[str]:
        """What is otherwise here than when a line was made, in words; nothing where the fingerprint is the same."""
        where = self._device(way.render.device)
        assert where is not None
        used = {**self._versions, **acceleration.versions(line.get("accelerate"))}
        here = fingerprint.of(way.render, where, used, way.size, model_hash, _otherwise(line))
        if here == line["fingerprint"]:
            return []
        threads = way.render.threads if where.name == "cpu" else None
        now = {"device": where.kind, "dtype": way.render.dtype, "threads": threads, "model": model_hash[:10]}
        then = {**{name: line[name] for name in ("device", "dtype", "threads")}, "model": str(line["model_hash"])[:10]}
        versions = _mapping(line["versions"])
        pairs = [(name, then[name], now[name]) for name in now]
        pairs += [(name, versions.get(name), used.get(name)) for name in {**versions, **used}]
        found = [
            f"{name} {_said(before)} then, {_said(after)} here" for name, before, after in pairs if before != after
        ]
        run = self._runs.get(line["run"], {})
        own = _mapping(run.get("versions")).get("sdbatch", __version__)
        if own != __version__:
            found.append(f"sdbatch {own} then, {__version__} here")
        if not run:
            found.append(f"runs.jsonl tells nothing of run {line['run']}: attention and the like are taken as usual")
        return found or ["its fingerprint is not that of what the line and runs.jsonl tell: one of them was changed"]

    def _device(self, name: str) -> device.Device | None:
        if name not in self._devices:
            try:
                self._devices[name] = device.describe(name)
            except UsageError:
                self._devices[name] = None
        return self._devices[name]


def _allowed(setting: Setting, value: Any) -> bool:
    if isinstance(value, bool):
        return setting.switch
    if isinstance(value, int) and setting.low is not None and setting.high is not None:
        return setting.low <= value <= setting.high
    return value in setting.choices


def _degraded(line: Mapping[str, Any]) -> dict[str, Any]:
    return _mapping(line["degraded"])


def _otherwise(line: Mapping[str, Any]) -> dict[str, Any]:
    """What a fingerprint holds of how a line was made otherwise than its row and `render:` say."""
    used = {"seed": line.get("seed_used"), **_mapping(line.get("used"))}
    return {**_degraded(line), **({"used": used} if (line.get("attempts") or 1) > 1 else {})}


def _mapping(value: Any) -> dict[str, Any]:
    """A mapping, or JSON text of one."""
    try:
        found = json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        return {}
    return dict(found) if isinstance(found, Mapping) else {}


def _said(value: Any) -> str:
    return "none" if value is None else str(value)
