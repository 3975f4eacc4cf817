"""Recipes: what stands in place of `mode` and makes rows of a data set. Each is a file here, found by its name."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from sdbatch.spec.problems import Problems, near, show
from sdbatch.spec.recipes import KEYS, Recipe


def expand(data: dict[str, Any], base: Path, problems: Problems) -> tuple[dict[str, Any], Recipe | None]:
    """A spec with a `recipe:` as one without, and what became of the recipe; mistakes are noted.

    Args:
        data: the spec as plain values.
        base: the folder that paths start from.
    """
    name = data.get("recipe")
    if not isinstance(name, str) or name not in KEYS:
        problems.add(("recipe",), f"{show(name)} is not one of {', '.join(KEYS)}{near(str(name), tuple(KEYS))}")
        return {key: value for key, value in data.items() if key != "recipe"}, None
    own = {key: data[key] for key in KEYS[name] if key in data}
    rest = {key: value for key, value in data.items() if key != "recipe" and key not in own}
    for key in ("rows", "rows_base", "stages", "include"):
        if rest.pop(key, None) is not None:
            problems.add((key,), f"the rows of recipe {name} are made from its input; leave it out")
    module: Any = import_module(f"{__name__}.{name}")
    found: tuple[dict[str, Any], Recipe | None] = module.expand(own, rest, base, problems)
    return found
