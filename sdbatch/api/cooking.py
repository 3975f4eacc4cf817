"""A recipe given on the command line → the spec that it is the same as."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sdbatch.sources import remote
from sdbatch.store.directory import RunDirectory

SPEC = "recipe.yaml"
"""The spec's name in the run directory."""


def recipe(name: str, given: str, directory: Path, keys: Mapping[str, Any]) -> Path:
    """Write a job with a recipe into its run directory; the same keys make the same job.

    Args:
        given: the data set, from the working directory.
        keys: of the spec.

    Returns:
        the spec's path.

    Raises:
        StoreError: the directory cannot be written.
    """
    target = RunDirectory(directory)
    home = Path(os.path.abspath(directory))
    seen = given if remote.is_url(given) else os.path.relpath(os.path.abspath(given), home).replace(os.sep, "/")
    spec = {"name": home.name, "recipe": name, "input": seen, **keys}
    # JSON is YAML, and says every value as it is.
    target.store.replace(SPEC, (json.dumps(spec, indent=2, ensure_ascii=False) + "\n").encode())
    return directory / SPEC
