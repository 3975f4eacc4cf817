"""What every command and every notebook calls."""

from sdbatch.api.checking import FsckReport, fsck
from sdbatch.api.converting import convert
from sdbatch.api.looking import doctor, init, model, models, sheet, status
from sdbatch.api.planning import PlanReport, plan_job, validate
from sdbatch.api.pulling import pull
from sdbatch.api.running import Listener, RunOptions, RunReport, run
from sdbatch.prepare import Job, job
from sdbatch.spec.schema import json_schema as schema

__all__ = [
    "FsckReport",
    "Job",
    "Listener",
    "PlanReport",
    "RunOptions",
    "RunReport",
    "convert",
    "doctor",
    "fsck",
    "init",
    "job",
    "model",
    "models",
    "plan_job",
    "pull",
    "run",
    "schema",
    "sheet",
    "status",
    "validate",
]
