"""sdbatch: batches of Stable Diffusion pictures, reproducible row by row.

`sdbatch.run("job.yaml")` runs a job and gives its directory as a `Run`: its manifest as a DataFrame, its contact sheet,
its pictures. `sdbatch.open_run(DIR)` gives one that is there. The rest of what commands do is in `sdbatch.api`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sdbatch.api.notebook import Run, Sheet, open_run, run

__version__ = "0.1.0"
__all__ = ["Run", "Sheet", "__version__", "open_run", "run"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module("sdbatch.api.notebook"), name)
