"""What every command and every notebook calls. A name's module is imported when the name is first used."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sdbatch.api.benching import BenchOptions, BenchReport, bench
    from sdbatch.api.checking import FsckReport, fsck
    from sdbatch.api.converting import convert
    from sdbatch.api.cooking import hidden_names, recipe
    from sdbatch.api.exporting import ExportReport, export
    from sdbatch.api.importing import ImportReport, import_folder
    from sdbatch.api.looking import doctor, init, model, models, sheet, status
    from sdbatch.api.planning import PlanReport, plan_job, validate
    from sdbatch.api.pulling import pull
    from sdbatch.api.replaying import Replay, ReplayOptions, ReplayReport, read_pictures, replay
    from sdbatch.api.reporting import PageReport, report
    from sdbatch.api.running import RunReport
    from sdbatch.api.serving import serve
    from sdbatch.api.telling import run
    from sdbatch.api.verifying import VerifyReport, verify
    from sdbatch.api.working import Listener, RunOptions
    from sdbatch.prepare import Job, job
    from sdbatch.spec.json_schema import json_schema as schema

_NAMES = {
    "sdbatch.api.benching": ("BenchOptions", "BenchReport", "bench"),
    "sdbatch.api.checking": ("FsckReport", "fsck"),
    "sdbatch.api.converting": ("convert",),
    "sdbatch.api.cooking": ("hidden_names", "recipe"),
    "sdbatch.api.exporting": ("ExportReport", "export"),
    "sdbatch.api.importing": ("ImportReport", "import_folder"),
    "sdbatch.api.looking": ("doctor", "init", "model", "models", "sheet", "status"),
    "sdbatch.api.planning": ("PlanReport", "plan_job", "validate"),
    "sdbatch.api.pulling": ("pull",),
    "sdbatch.api.replaying": ("Replay", "ReplayOptions", "ReplayReport", "read_pictures", "replay"),
    "sdbatch.api.reporting": ("PageReport", "report"),
    "sdbatch.api.running": ("RunReport",),
    "sdbatch.api.serving": ("serve",),
    "sdbatch.api.telling": ("run",),
    "sdbatch.api.verifying": ("VerifyReport", "verify"),
    "sdbatch.api.working": ("Listener", "RunOptions"),
    "sdbatch.prepare": ("Job", "job"),
    "sdbatch.spec.json_schema": ("json_schema",),
}
_HOMES = {
    ("schema" if name == "json_schema" else name): (home, name) for home, names in _NAMES.items() for name in names
}

__all__ = [
    "BenchOptions",
    "BenchReport",
    "ExportReport",
    "FsckReport",
    "ImportReport",
    "Job",
    "Listener",
    "PageReport",
    "PlanReport",
    "Replay",
    "ReplayOptions",
    "ReplayReport",
    "RunOptions",
    "RunReport",
    "VerifyReport",
    "bench",
    "convert",
    "doctor",
    "export",
    "fsck",
    "hidden_names",
    "import_folder",
    "init",
    "job",
    "model",
    "models",
    "plan_job",
    "pull",
    "read_pictures",
    "recipe",
    "replay",
    "report",
    "run",
    "schema",
    "serve",
    "sheet",
    "status",
    "validate",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home, own = _HOMES[name]
    found = globals()[name] = getattr(import_module(home), own)
    return found
