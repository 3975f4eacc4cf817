"""A recipe given on the command line → the spec that it is the same as."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sdbatch.errors import InputError, UsageError
from sdbatch.recipes import anonymize
from sdbatch.sources import datasets, hidden, remote, temporary
from sdbatch.store.directory import RunDirectory

SPEC = "recipe.yaml"
"""The spec's name in the run directory."""


def hidden_names(given: str, key_file: Path) -> list[tuple[str, str]]:
    """What recipe `anonymize` calls each picture of a data set under a key, and what the data set calls it.

    Raises:
        UsageError: the key or the data set cannot be read.
    """
    try:
        key = key_file.read_bytes()
        items = datasets.read(given, Path.cwd(), temporary.folder())
        return [(hidden.named(key, item.path)[0], item.name) for item in items]
    except (InputError, OSError) as error:
        raise UsageError(str(error)) from error


def recipe(name: str, given: str, directory: Path, keys: Mapping[str, Any], *, key_file: Path | None = None) -> Path:
    """Write a job with a recipe into its run directory; the same keys make the same job.

    Args:
        given: the data set, from the working directory.
        keys: of the spec.
        key_file: where it is given, neither it nor the data set is named in the spec, but in the environment.

    Returns:
        the spec's path.

    Raises:
        UsageError: the directory is the data set.
        StoreError: the directory cannot be written.
    """
    if os.path.abspath(given) == os.path.abspath(directory):
        raise UsageError(f"--out {directory}: is the data set itself; its pictures would lie among those of the run")
    target = RunDirectory(directory)
    home = Path(os.path.abspath(directory))
    places: dict[str, Any]
    if key_file is None:
        there = os.path.abspath(given)
        places = {"input": given if remote.is_url(given) else os.path.relpath(there, home).replace(os.sep, "/")}
    else:
        os.environ[anonymize.PLACES["input"]] = os.path.abspath(given)
        os.environ[anonymize.PLACES["key_file"]] = os.path.abspath(key_file)
        places = {place: f"${{{place.upper()}}}" for place in anonymize.PLACES}
    spec = {"name": home.name, "recipe": name, **places, **keys}
    # JSON is YAML, and says every value as it is.
    target.store.replace(SPEC, (json.dumps(spec, indent=2, ensure_ascii=False) + "\n").encode())
    return directory / SPEC
