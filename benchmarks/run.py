"""Run the benchmarks one after the other; write docs/benchmarks.json and the tables of docs/benchmarks.md.

python benchmarks/run.py [NAME ...]      such as `png plan`; without names every script of this folder

A script prints one JSON object as its last line: `benchmark`, and `results`, each with `what`, `value`, `target` and
`reached`, or of any other shape. What was measured before stays where a script is not run now. Exit code 1: a script
failed; its old results stay.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import timing

HERE = Path(__file__).resolve().parent
PAGE, DATA = HERE.parent / "docs" / "benchmarks.md", HERE.parent / "docs" / "benchmarks.json"
HELPERS = ("digits_model", "run", "timing", "ways")
TARGETS = "targets"
"""The table of all results that have a target; each script has one of its own name besides."""


def scripts() -> list[str]:
    """The names of what can be run."""
    return sorted(path.stem for path in HERE.glob("*.py") if path.stem not in HELPERS)


def run(name: str) -> dict[str, Any] | None:
    """Run one script; None where it gave no results."""
    print(f"{name} ...", file=sys.stderr, flush=True)
    ended = subprocess.run([sys.executable, str(HERE / f"{name}.py")], stdout=subprocess.PIPE, text=True, check=False)
    found = last_object(ended.stdout)
    if ended.returncode or found is None:
        print(f"{name}: failed with exit code {ended.returncode}\n{ended.stdout[-2000:]}", file=sys.stderr)
        return None
    when = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    return {"when": when, "machine": timing.machine(), "versions": timing.versions(), **found}


def last_object(text: str) -> dict[str, Any] | None:
    """The JSON object at the end of a text: its last line, or all of it where it was printed over several."""
    for candidate in (text.strip().rpartition("\n")[2], text):
        try:
            found = json.loads(candidate)
        except ValueError:
            continue
        if isinstance(found, dict):
            return found
    return None


def rows_of(found: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """A script's results, whatever it calls them."""
    results = found.get("results", [found])
    if isinstance(results, Mapping):
        results = [
            {"what": name, **(one if isinstance(one, Mapping) else {"value": one})} for name, one in results.items()
        ]
    return [one for one in results if isinstance(one, Mapping)]


def table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    rule = ["---"] * len(header)
    return "\n".join("| " + " | ".join(line) + " |" for line in (header, rule, *lines))


def targets(all_found: Mapping[str, Mapping[str, Any]]) -> str:
    """Every result that has a target."""
    lines = []
    for name, found in all_found.items():
        for one in rows_of(found):
            if one.get("target") is None:
                continue
            value = f"{shown(one.get('value'))} {one.get('unit', '')}".strip()
            reached = {True: "yes", False: "**no**", None: "not measured"}[one.get("reached")]
            against = shown(one.get("against", ""))
            lines.append([shown(one.get("what", name)), against, value, shown(one["target"]), reached, f"`{name}.py`"])
    return table(["what", "against", "measured", "target", "reached", "by"], lines)


def own(found: Mapping[str, Any]) -> str:
    """A script's results, a column for each number or text that they have."""
    rows = rows_of(found)
    columns = list(
        dict.fromkeys(key for row in rows for key, value in row.items() if not isinstance(value, (dict, list)))
    )
    lines = [[shown(row.get(column, "")) for column in columns] for row in rows]
    about, versions = found["machine"], found["versions"]
    said = f"{found['when'][:10]}, {about['device']}, {about['cores']} cores"
    said += "".join(f", {name} {versions[name]}" for name in ("torch", "diffusers") if name in versions)
    headings = [column.replace("_", " ") for column in columns]
    return f"{said}; load before the end {shown(found.get('load', ''))}.\n\n{table(headings, lines)}"


def shown(value: Any) -> str:
    """A value as a cell of a table."""
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 10000 else f"{value:,.0f}"
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: ""}[value]
    if isinstance(value, list):
        return ", ".join(map(shown, value))
    return str(value).replace("|", "\\|").replace("\n", " ")


def renewed(page: str, name: str, text: str) -> str:
    """The page with the part of this name replaced; at its end where it has none yet."""
    begin, end = f"<!-- {name}: written by make bench -->", f"<!-- {name}: end -->"
    part = f"{begin}\n\n{text}\n\n{end}"
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    if pattern.search(page):
        return pattern.sub(lambda match: part, page, count=1)
    return f"{page.rstrip()}\n\n## {name}.py\n\n{part}\n"


def main(names: Sequence[str]) -> int:
    """Run, write, and say what failed."""
    unknown = sorted(set(names) - set(scripts()))
    if unknown:
        print(f"no such benchmark: {', '.join(unknown)}; one of {', '.join(scripts())}", file=sys.stderr)
        return 2
    known: dict[str, dict[str, Any]] = json.loads(DATA.read_text(encoding="utf-8")) if DATA.exists() else {}
    failed = []
    for name in names or scripts():
        found = run(name)
        if found is None:
            failed.append(name)
            continue
        known[name] = found
        # After each, so that one that is interrupted loses none before it.
        DATA.write_text(json.dumps(dict(sorted(known.items())), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        page = renewed(PAGE.read_text(encoding="utf-8"), name, own(found))
        PAGE.write_text(renewed(page, TARGETS, targets(known)), encoding="utf-8")
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
