"""What every command and every notebook calls."""

from sdbatch.api.checking import FsckReport, fsck
from sdbatch.api.converting import convert
from sdbatch.api.importing import ImportReport, import_folder
from sdbatch.api.looking import doctor, init, model, models, sheet, status
from sdbatch.api.planning import PlanReport, plan_job, validate
from sdbatch.api.pulling import pull
from sdbatch.api.replaying import Replay, ReplayOptions, ReplayReport, read_pictures, replay
from sdbatch.api.running import Listener, RunOptions, RunReport, run
from sdbatch.api.verifying import VerifyReport, verify
from sdbatch.prepare import Job, job
from sdbatch.spec.schema import json_schema as schema

__all__ = [
    "FsckReport",
    "ImportReport",
    "Job",
    "Listener",
    "PlanReport",
    "Replay",
    "ReplayOptions",
    "ReplayReport",
    "RunOptions",
    "RunReport",
    "VerifyReport",
    "convert",
    "doctor",
    "fsck",
    "import_folder",
    "init",
    "job",
    "model",
    "models",
    "plan_job",
    "pull",
    "read_pictures",
    "replay",
    "run",
    "schema",
    "sheet",
    "status",
    "validate",
    "verify",
]
