"""Write the pages that say what the code says: docs/{cli,spec,modes,samplers,manifest,errors}.md, sdbatch.1 and
job.schema.json.

python docs/generate.py            write them
python docs/generate.py --check    exit 1 where one is stale, and name it
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from errors_page import errors_page
from man_page import man_page
from manifest_page import manifest_page
from modes_page import modes_page, uses
from samplers_page import samplers_page

from sdbatch.parameters import PARAMETERS, Parameter

DOCS = Path(__file__).resolve().parent
KINDS = {"text": "text", "int": "whole number", "float": "number", "json": "any"}

SPEC_INTRO = """\
# The job spec

*The tables on this page are written by `docs/generate.py` from the code. `make docs` renews them.*

A job is a YAML file. What stands at the top level is true of every picture; `grid`, `zip` and `rows` say what varies.

```yaml
name: colours                        # default: the file's name without .yaml
model: demo
prompt: "a large {color} {shape} on a white background"
steps: 20
zip:
  color: [red, green, blue]
  guidance_scale: [3, 4, 5]
grid:
  shape: {file: ../prompts/shapes.txt}
  seed: {range: [0, 4]}
output:
  filename: "{color}/{shape}-{seed:03d}"
```

`sdbatch validate JOB` checks a spec and names every mistake with its line; `sdbatch plan JOB` shows what it would make.
`sdbatch schema` prints the JSON Schema; an editor that reads `# yaml-language-server: $schema=...` completes keys
with it.

## Rows and axes

One row is one picture. Three keys make rows, and they multiply, in this order:

| key | what it does |
|---|---|
| `rows` | a table, `.parquet`, `.csv` or `.jsonl`, whose columns are parameters or free columns: one row a line |
| `zip` | axes that advance together; all have the same length |
| `grid` | axes that are crossed: every value of one with every value of the others, the last axis fastest |

A name may stand in one of the three only. Every parameter below may be an axis. Then `exclude` takes rows away and
`include` adds some:

- `exclude` is a list of mappings; a row that agrees with all of one mapping is left out.
- `include` is a list of mappings; each is one more row, over the top-level values, after `exclude`.

An axis is a list of values, or a mapping with one of these keys:

| axis | values |
|---|---|
| `[a, b, c]` | these, as they are; an element that is a list is one value |
| `{range: [start, stop]}`, `{range: [start, stop, step]}` | as Python's `range`: the stop is not among them |
| `{linspace: [first, last, count]}` | `count` numbers, evenly spaced, both ends among them |
| `{file: PATH}` | the lines of a text file; blank lines and lines that start with `#` are skipped |
| `{glob: PATTERN}` | the paths that match, sorted |
| `{from: date}` | for `seed`: one number, the day on which the job is read, such as 20261126 |
| `{random: count}` | for `seed`: that many seeds, drawn from the job's name and the axis, the same ones each time |
| `{combinatorial: text}` | every text that the variants and wildcards in it can make: [prompts](prompts.md) |

Such a mapping may also stand at the top level, in place of a constant: it is then an axis before those of `grid`.
Paths start at the spec file's folder, in the cells of a table too. `rows_base: FOLDER` lets those in the cells start
elsewhere, and `links_within: FOLDER` takes that folder for the spec's where [links](inputs.md#links) are followed: a
run directory's job.yaml has both, since it lies elsewhere than the spec that it was made from. `parents: DIR` names
another run directory that has the [pictures of earlier stages](stages.md) which rows name, as `sdbatch replay` needs.
`recipe: augment` and `recipe: anonymize` make the rows of a data set in place of a table, with keys of their own:
[variations](augment.md), [nobody recognisable](anonymize.md).
`on_finish` and `on_failure` say who is told [how a run ended](cron.md#being-told), with `--hooks` alone: a command or
an address, or a list of them.

`wildcards: FOLDER` holds the wildcard files of prompts, `fine_tunes: FOLDER` the folders `loras/`, `embeddings/` and
`hypernetworks/` that are searched by name (and one folder up from there); by default they lie beside the spec.
What input pictures may be, and what is made of them, is said in [inputs](inputs.md).

## Fields and free columns

`{NAME}` and `{NAME:format}` in `prompt`, `negative_prompt` and `output.filename` are filled from the row. NAME is a
parameter, an axis or a column of the table; there are no attributes, indexes or expressions. `{{` and `}}` are literal
braces, and braces that hold anything but a name are left as they are. What is filled in is not read again. The cells of
a table's own `prompt` column are taken as they stand.

An axis that is no parameter, such as `color` above, must be used by a template; a name that nothing uses is taken for a
spelling mistake. A column of a table need not be used. Either way it travels to the manifest as text, named
`field_NAME`.

## Rules for files and values

- An unknown key, a wrong type or an impossible value is an error, with file, line and the nearest valid name. All rows
  are checked before the first picture is made. Pictures that rows read are looked at when their row is made: one that
  is missing or broken fails its row, and no other.
- Two rows that would write one file are an error when the job is planned. `/` in a value that is filled into a file
  name becomes `_`, and no name leads out of the run directory.
- `--set KEY=VALUE` replaces a value before the spec is checked: `--set steps=30`, `--set output.format=webp`.
- A table is a job too: `sdbatch run grid.parquet --model demo --out DIR`.
"""

SPEC_OTHER = """\
## What is written: `output`

| key | default | about |
|---|---|---|
| `dir` | `runs/NAME` | the run directory, relative to the spec; `--out`, relative to the working directory, wins |
| `filename` | `"{id}"` | a template without extension; `/` in the template makes folders |
| `format` | `png` | `png`, `webp` or `jpeg` |
| `quality` | the format's | 1 to 100, for `webp` (100 is lossless, and the default) and `jpeg` |
| `save` | none | a list of `latents`, `depth`, `control`, `mask`: [beside each picture](output.md#beside-a-picture) |
| `watermark` | none | a text to [hide in each picture](output.md#watermark) |
| `c2pa` | none | `{cert, key}`: paths of PEM files that [sign each picture](output.md#content-credentials) |

`safety: off | flag | drop`, at the top level, asks the model's own [safety checker](output.md#safety). `off` is the
default.

## How it is made: `render`

These never change which picture a row is, but they may change its last bits. They are fixed by a directory's first run,
and recorded with each picture as its *fingerprint*.

| key | default | about |
|---|---|---|
| `batch_size` | `auto` | pictures a pipeline call; every batch is padded to it |
| `threads` | `auto` | CPU threads a worker; `auto` is the number of physical cores |
| `dtype` | `auto` | `float32`, `float16` or `bfloat16`; `auto` follows the device |
| `device` | `auto` | where pictures are made |
"""


def spec_page() -> str:
    """docs/spec.md: rows and axes in words, the parameters as a table."""
    used = [parameter for name, parameter in PARAMETERS.items() if name in frozenset().union(*uses())]
    later = [parameter for parameter in PARAMETERS.values() if parameter not in used]
    lines = [
        SPEC_INTRO,
        "## The parameters",
        "",
        "Each of these may be constant, an axis or a column. Together they decide which picture a row is: its `id`.",
        "",
        "| parameter | kind | default | allowed | about |",
        "|---|---|---|---|---|",
        *(_parameter_line(parameter) for parameter in used),
        "",
        *textwrap.wrap("[Modes](modes.md) says which mode uses which. " + _reserved(later), 120),
        "",
        SPEC_OTHER,
    ]
    return "\n".join(lines)


def _reserved(later: Sequence[Parameter]) -> str:
    names = ", ".join(f"`{parameter.name}`" for parameter in later)
    return f"These names are reserved for what is not there yet: {names}." if names else ""


def _parameter_line(parameter: Parameter) -> str:
    cells = (f"`{parameter.name}`", KINDS[parameter.kind], _default(parameter), _allowed(parameter), parameter.about)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _default(parameter: Parameter) -> str:
    if parameter.default is None:
        return "none"
    return f"`{parameter.default}`" if parameter.default != "" else "empty"


def _allowed(parameter: Parameter) -> str:
    if parameter.choices:
        return ", ".join(f"`{choice}`" for choice in parameter.choices)
    if parameter.low is None or parameter.high is None:
        return ""
    span = f"{parameter.low:.10g} to {parameter.high:.10g}"
    return span + (f", a multiple of {parameter.multiple}" if parameter.multiple > 1 else "")


def cli_page() -> str:
    """docs/cli.md: every command with its arguments and options, as `--help` has them."""
    import typer.main

    from sdbatch.cli.main import app

    lines = [
        "# The command line",
        "",
        "*This page is written by `docs/generate.py` from the code. `make docs` renews it.*",
        "",
        "Standard output carries results: paths, tables, JSON. Progress and messages go to standard error.",
        "",
        *_command(typer.main.get_command(app), "sdbatch", None),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _command(command: Any, name: str, parent: Any) -> Iterator[str]:
    """The section of a command, then those of its subcommands. Typer's commands have click's methods."""
    context = command.context_class(command, info_name=name.rsplit(" ", 1)[-1], parent=parent)
    usage = " ".join([name, *command.collect_usage_pieces(context)])
    yield from [f"{'#' * min(name.count(' ') + 1, 3) if parent else '##'} `{name}`", ""]
    if command.help:
        yield from [command.help.strip(), ""]
    yield from ["```", usage, "```", ""]
    yield from _table(command, context)
    for child in command.list_commands(context) if hasattr(command, "list_commands") else ():
        found = command.get_command(context, child)
        if not found.hidden:
            yield from _command(found, f"{name} {child}", context)


def _table(command: Any, context: Any) -> Iterator[str]:
    records = [
        record
        for parameter in command.get_params(context)
        if (record := parameter.get_help_record(context)) and not record[0].startswith("--help")
    ]
    if records:
        yield from ["| argument or option | about |", "|---|---|"]
        for left, about in records:
            words = " ".join((about or "").split()).replace("|", "\\|")
            yield f"| `{left.replace('|', chr(92) + '|')}` | {words} |"
        yield ""


def schema_file() -> str:
    """docs/job.schema.json: what `sdbatch schema` prints."""
    command = [sys.executable, "-c", "from sdbatch.cli.main import run; run()", "schema"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.rstrip() + "\n"


PAGES = {
    "cli.md": cli_page,
    "spec.md": spec_page,
    "modes.md": modes_page,
    "samplers.md": samplers_page,
    "manifest.md": manifest_page,
    "errors.md": errors_page,
    "sdbatch.1": man_page,
    "job.schema.json": schema_file,
}


def main() -> int:
    """Write or check the pages; the exit code."""
    parser = argparse.ArgumentParser(description="Write the generated pages of docs/.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where a page is stale")
    check = parser.parse_args().check
    # Help texts and usage lines must not depend on the terminal that this runs in.
    os.environ.update(COLUMNS="120", NO_COLOR="1", TERMINAL_WIDTH="120")
    stale = []
    for name, page in PAGES.items():
        path, text = DOCS / name, page().rstrip() + "\n"
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(name)
        if not check:
            path.write_text(text, encoding="utf-8")
            print(f"wrote docs/{name}")
    if check and stale:
        print(f"stale: {', '.join(stale)}; run `make docs`", file=sys.stderr)
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
