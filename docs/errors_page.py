"""docs/errors.md: every error with the exit code that it ends a command with."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

from sdbatch import errors

INTRO = """\
# Errors

*This page is written by `docs/generate.py` from the code. `make docs` renews it.*

A mistake in a spec is told with its file and line, the key, what is allowed, and the nearest name that is:

```
jobs/cats.yaml:3: promt: unknown key; did you mean 'prompt'?
```

All mistakes of a spec are told at once, and before anything is made. No command ends in a traceback; `SDBATCH_DEBUG=1`
asks for one, where a bug is looked for.

## Exit codes

The first that applies.

| code | meaning |
|---|---|
| 130 | interrupted: what was made is saved, and the same command goes on |
| 2 | the command or the spec is wrong |
| 74 | the run directory cannot be read or written |
| 70 | a bug in sdbatch |
| 1 | some rows failed; of `verify`, some are different; of `fsck`, something is wrong |
| 75 | another run holds the directory, or the time limit came with rows left: try again later |
| 0 | every row is done, or `--limit` was reached |

## Classes

What a command raises, and what stands as `error` in [`failures/`](directory.md#failures). An error of a row ends no
run; the code is what the run ends with then.
"""
OTHER = """\
In `failures/` stand besides these:

| `error` | when |
|---|---|
| `OutOfMemoryError` | the device had too little memory at the smallest batch, or `render.oom: fail`; `--retry oom` |
| `WorkerDied` | the worker died with the row in hand |
| `Quarantined` | it did so twice with this row alone: `run` leaves it until `--retry quarantined` |
| any other | what the model's code raised |
"""


def errors_page() -> str:
    """The page."""
    lines = [INTRO, "| class | code | meaning |", "|---|---|---|"]
    for depth, found in _classes(errors.SdbatchError, 0):
        about = (inspect.getdoc(found) or "").partition("\n")[0].rstrip(".")
        lines.append(f"| {'&nbsp;&nbsp;' * depth}`{found.__name__}` | {found.exit_code} | {about} |")
    return "\n".join([*lines, "", OTHER])


def _classes(of: type[errors.SdbatchError], depth: int) -> Iterator[tuple[int, type[errors.SdbatchError]]]:
    yield depth, of
    for found in of.__subclasses__():
        if found.__module__ == errors.__name__:
            yield from _classes(found, depth + 1)
