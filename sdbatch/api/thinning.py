"""A recipe's near-duplicates, taken out once all of a job's pictures are made."""

from __future__ import annotations

import json
import socket

import pyarrow as pa
import pyarrow.compute as pc

from sdbatch import prepare
from sdbatch.recipes import duplicates
from sdbatch.spec import arrow
from sdbatch.store.directory import now
from sdbatch.store.manifest import Manifest
from sdbatch.types import DROPPED, Failure


def thin(job: prepare.Job, manifest: Manifest) -> int:
    """Drop near-duplicates; gives how many.

    Only when nothing of the job is left to make: which pictures go must not follow from which were made first. First
    it is written down that they are dropped, so that a run that is cut off here goes on here, and loses nothing.

    Raises:
        StoreError: the directory cannot be written.
    """
    bits = getattr(job.spec.recipe.guard, "distinct", 0) if job.spec.recipe is not None else 0
    if not bits:
        return 0
    table = manifest.read(["id", "row", "path", "parent_id", "scores", "field_variation"])
    # What is no longer asked for neither goes nor makes others go.
    table = table.filter(pc.is_in(table.column("row"), value_set=arrow.column(job.rows.batches(), "row")))
    lines = {line["row"]: line for line in table.to_pylist()}
    hashes = {row: json.loads(line["scores"] or "{}").get("phash") for row, line in lines.items()}
    made = [duplicates.of_line(lines[row], phash) for row, phash in hashes.items() if phash is not None]
    found = duplicates.near(made, bits)
    if not found:
        return 0
    when, where = now(), socket.gethostname()
    said = [
        Failure(lines[row]["id"], row, 1, DROPPED, f"near-duplicate: differs from {other} in {apart} bits of 64", when,
                where)
        for row, (other, apart) in found.items()
    ]  # fmt: skip
    manifest.commit([], said)
    rows: pa.Array = arrow.texts(list(found))
    paths = set(manifest.forget(rows))
    still = pc.unique(manifest.read(["path"]).column("path")).to_pylist()
    for path in paths.difference(still):
        job.directory.store.remove(path)
    return len(found)
