"""Look at what is there: a run's state, its sheet, models, this machine."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdbatch import errors, modes, prepare
from sdbatch.render import device
from sdbatch.sources import hub, remote
from sdbatch.sources.models import Model, ModelSource, embedded, installed
from sdbatch.spec import arrow
from sdbatch.spec.json_schema import json_schema
from sdbatch.store import attempts, owner
from sdbatch.store.directory import JOB

if TYPE_CHECKING:
    from sdbatch.report.status import Status
    from sdbatch.spec.grid import Rows
    from sdbatch.store.base import Store

STARTER = ("jobs", "prompts")


def status(directory: Path) -> Status:
    """How far a run is; reads the manifest and the rows of its job.yaml, no model weights.

    Raises:
        StoreError: it is no run directory.
    """
    from sdbatch.report import status as report

    there = prepare.readable(directory)
    manifest = there.manifest()
    asked = asked_for(there.path)
    done = manifest.read(["row", "id", "finished_at", "seconds", "run", "degraded"])
    runs = there.runs()
    started = {run["run"]: run["started_at"] for run in runs}
    name = runs[-1]["job"] if runs else ""
    found = report.measure(done, manifest.failures(), asked.keys, job=name, started=started)
    idle = _idle(there.path, there.store)
    return replace(found, waiting=asked.waiting, idle=idle, at_work=() if idle else tuple(_at_work(there.store)))


def _idle(path: Path, store: Store) -> bool:
    """Whether nobody holds a directory; of one in a bucket, whether nobody has said so."""
    return owner.holder(path) is None if remote.url(path) is None else not store.exists(owner.OWNER)


def _at_work(store: Store) -> Iterator[str]:
    from sdbatch.report.status import plural

    for one in attempts.left(store):
        rows = plural(len(one.rows), "row")
        yield ", ".join(part for part in (f"{one.where}: {rows} in hand", one.about) if part)


def sheet(
    directory: Path, *, x: str | None = None, y: str | None = None, by: str | None = None, out: Path | None = None
) -> list[Path]:
    """Draw a labelled contact sheet of a run; gives the pages' paths.

    Raises:
        StoreError: it is no run directory, or the sheet cannot be written.
        UsageError: there is no such axis.
    """
    import pyarrow.compute as pc

    from sdbatch.report.sheet import sheet as draw

    there = prepare.readable(directory)
    manifest, directory = there.manifest(), there.path
    if out is None:  # beside the pictures, or here where those are in a bucket
        out = directory / "sheet.png" if remote.url(directory) is None else Path(f"{directory.name}-sheet.png")
    table = manifest.read()
    asked = asked_for(directory)
    if asked.keys is not None:
        table = table.filter(pc.is_in(table.column("row"), value_set=asked.keys))  # not the retired ones
    table = table.filter(pc.fill_null(pc.not_equal(table.column("mode"), modes.SCORE), True))
    failures = failed_rows(asked.rows, manifest.failures().to_pylist())
    return draw(table, directory, out, x=x, y=y, by=by, failures=failures)


def models() -> list[dict[str, Any]]:
    """The embedded models, those of installed extras, and those in the local Hugging Face cache."""
    source = ModelSource(Path.cwd())
    found = [_about(source.resolve(name)) for name in installed()]
    for name, commit, folder in hub.cached():
        with suppress(errors.ModelError):  # only part of it is here, or it is of no kind that is read
            found.append({**_about(source.resolve(str(folder))), "name": name, "revision": commit})
    return found


def model(name: str, revision: str | None = None) -> dict[str, Any]:
    """What a model is: name, path, kind, hash, revision, size and modes.

    Raises:
        ModelError: it is missing, broken, or not read by this version.
    """
    return _about(ModelSource(Path.cwd()).resolve(name, revision))


def doctor() -> dict[str, Any]:
    """What this machine has; `missing` lists what a run would lack."""
    from importlib import metadata

    from sdbatch import __version__

    missing, versions = [], {"sdbatch": __version__, "python": sys.version.split()[0]}
    for name in ("torch", "diffusers", "transformers", "ray", "pyarrow", "pandas"):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            missing.append(f"package {name}: pip install {name}")
    found = embedded()
    if "demo" not in found:
        missing.append("the embedded model `demo`: the package's data files are not installed")
    render = device.settings({})
    hardware = device.describe(render.device)
    memory = f", {hardware.memory} GiB" if hardware.memory else ""
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    return {
        "versions": [f"{name} {version}" for name, version in versions.items()],
        "devices": [f"{hardware.kind} x {hardware.count}{memory}"],
        "threads": render.threads,
        "disk": f"{free:.1f} GiB free here",
        "models": found,
        "missing": missing,
    }


def init(directory: Path) -> Iterator[tuple[Path, bool]]:
    """Copy the starter jobs and prompts; gives each path, and whether it was written.

    Raises:
        StoreError: the directory cannot be written.
    """
    root, sources = _starter_files()
    files = {directory / source.relative_to(root): source.read_bytes() for source in sources}
    # The jobs' first line names it, for editors.
    files[directory / "docs" / "job.schema.json"] = json.dumps(json_schema(), indent=2, ensure_ascii=False).encode()
    for target, data in files.items():
        if target.exists():
            yield target, False
            continue
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        except OSError as error:
            raise errors.StoreError(f"{target}: {error.strerror}") from error
        yield target, True


def _starter_files() -> tuple[Path, list[Path]]:
    """Their folder and they: in a wheel they lie in the package, in a checkout beside it."""
    package = Path(__file__).resolve().parent.parent
    root = package / "starter" if (package / "starter").is_dir() else package.parent
    return root, sorted(path for name in STARTER for path in (root / name).rglob("*") if path.is_file())


def _about(found: Model) -> dict[str, Any]:
    return {
        "name": found.name,
        "path": str(found.path),
        "kind": found.kind,
        "hash": found.hash,
        "revision": found.revision,
        "size": list(found.size),
        "modes": list(modes.fitting(found.kind)),
    }


@dataclass(frozen=True)
class Asked:
    """What a directory's job asks for.

    Attributes:
        rows: of each stage.
        keys: an Arrow array of row keys, without those that `when` and `top` leave out; None where an input is gone.
        waiting: rows of later stages whose input is not there, by stage.
    """

    rows: Sequence[Rows]
    keys: Any
    waiting: Mapping[str, int]


def asked_for(directory: Path) -> Asked:
    """Read a directory's job."""
    import pyarrow as pa

    from sdbatch import staging

    try:
        stages = staging.of(prepare.job(directory / JOB, out=directory, allow_mixed=True, adopt=True))
        rows = [stage.job.rows for stage in stages]
        if len(stages) > 1:
            states = staging.states(stages, prepare.readable(directory).manifest(fields=staging.fields(stages)))
            keys = [
                stage.rows.column("row").filter(pa.array((state != staging.OUT).tolist(), pa.bool_()))
                for stage, state in zip(stages, states, strict=True)
            ]
            counts = {
                stage.name: int((state == staging.WAITING).sum()) for stage, state in zip(stages, states, strict=True)
            }
            whole = pa.concat_arrays([pa.nulls(0, pa.string()), *(chunk for column in keys for chunk in column.chunks)])
            return Asked(rows, whole, {name: count for name, count in counts.items() if count})
        keys_of_all = arrow.column(rows[0].batches(), "row")
    except errors.UsageError:
        return Asked((), None, {})
    return Asked(rows, keys_of_all, {})


def failed_rows(stages: Sequence[Rows], failures: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Failures with the columns of their rows, so that the sheet knows their cells."""
    if not failures or not stages:
        return failures
    lost = {failure["row"]: failure for failure in failures}
    found = []
    for rows in stages:
        for batch in rows.batches():
            keys = batch.column("row").to_pylist()
            numbers = [batch.column("index")[at].as_py() for at, key in enumerate(keys) if key in lost]
            for row in rows.take(numbers):
                free = {f"field_{name}": value for name, value in row.fields.items()}
                found.append({**row.params, **free, **lost[row.row]})
    return found
