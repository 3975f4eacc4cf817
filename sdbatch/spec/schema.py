"""What a job spec holds: the frozen result of reading one, and the keys and values it may have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sdbatch.parameters import PARAMETERS
from sdbatch.spec.recipes import Recipe
from sdbatch.types import Output

SECTIONS = (
    "name", "rows", "rows_base", "links_within", "parents", "wildcards", "fine_tunes", "grid", "zip", "exclude",
    "include", "output", "safety", "render", "on_finish", "on_failure", "stages",
)  # fmt: skip
KEYS = (*SECTIONS, *PARAMETERS)
"""Every top-level key of this version."""

STAGES_MAX = 32
STAGE_KEYS = ("name", "input", "when", "top")
"""Keys that only a stage has; it may have those of the top level too, but for the next ones."""
WHOLE = ("parents", "render", "on_finish", "on_failure", "stages")
"""Keys of the whole job, which no stage has for itself."""
FEEDS = ("rows", "rows_base", "zip", "grid", "exclude", "include")
"""Keys of the top level that make rows of the first stage alone."""
TOP_KEYS = ("by", "per", "n", "distinct")

FORMS = ("range", "linspace", "random", "file", "glob", "combinatorial", "from")
"""The ways to write an axis other than as a list."""

ROWS_MAX = 100_000_000
"""Most rows of a job; a plan of so many takes about 1 GB of memory, and 4 GB of temporary files."""
TABLES = (".parquet", ".csv", ".jsonl")
FORMATS = ("png", "webp", "jpeg")
OUTPUT_KEYS = ("dir", "filename", "format", "quality", "save", "watermark", "c2pa")
SIGNING_KEYS = ("cert", "key")
SAVED = ("latents", "depth", "control", "mask")
"""What `output.save` writes beside a picture, where its mode has one."""
SAFETY = ("off", "flag", "drop")
"""What the verdict of a model's own safety checker does: nothing, a note in the manifest, or a failed row."""
HOOKS = ("on_finish", "on_failure")
"""Who is told how a run ended."""
FILE_FIELDS = ("id", "row", "stage", "name")
"""Fields that only output.filename has."""
DIR_FIELDS = ("date", "name")
"""Fields of output.dir."""
TEMPLATES = ("prompt", "negative_prompt")
"""Parameters that are templates."""


@dataclass(frozen=True)
class Axis:
    """Values that a row takes in turn.

    Attributes:
        name: a parameter, or a free name that a template uses.
        values: in order, in the parameter's own type; a Python range stays one. Free values are
            str, int, float, bool or None.
        source: the mapping it was written as, such as {"range": [0, 4]}; None for a list.
    """

    name: str
    values: Sequence[Any]
    source: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Top:
    """Which of the rows of the input a stage takes: the best ones.

    Attributes:
        by: a score, parameter or free column; the greatest come first.
        per: names by whose values rows are grouped; without any, all rows are one group.
        n: how many of each group.
        distinct: by how many bits the perceptual hashes of those taken differ at least; None asks for none.
    """

    by: str
    per: tuple[str, ...] = ()
    n: int = 1
    distinct: int | None = None


@dataclass(frozen=True)
class Stage:
    """A stage's place among the others.

    Attributes:
        input: the earlier stage whose pictures it is made from; None makes rows of its own.
        picture: the parameter that takes them.
        taken: parameters whose values are the earlier rows' own: parameter → (stage, name).
        when: only rows of the input for which this holds; see `conditions`.
        top: only these rows of the input.
        alone: whether the job has no stages.
    """

    name: str = "main"
    input: str | None = None
    picture: str = "image"
    taken: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    when: str | None = None
    top: Top | None = None
    alone: bool = True

    @property
    def lines(self) -> str | None:
        """The stage whose lines in the manifest count; None are all."""
        return None if self.alone else self.name


@dataclass(frozen=True)
class JobSpec:
    """A job as its user wrote it, checked.

    Attributes:
        name: the job's name; fit for a directory's.
        path: the spec file, absolute (for a bare table, the table); None for a job made of a mapping.
        base: absolute directory that relative paths start from.
        values: top-level constants that were given, in the parameter's own type.
        axes: crossed axes: the top level's, then grid's, in the order written; the last is fastest.
        zip: axes of one length that advance together.
        rows: absolute path of the table.
        rows_base: absolute directory that paths in the table's cells start from; None is `base`.
        links_within: absolute directory of the spec that the names of inputs were first written in, for links in
            them; see `files.reached`. None is `base`.
        parents: absolute path of the run directory that has the pictures of earlier stages; None is the job's own.
        wildcards: absolute path of the folder of wildcard files: as given, else `wildcards/` beside the spec, if there.
        fine_tunes: absolute path of the folder beside whose `loras/` and the like names are looked for; None is `base`.
        exclude: a row that agrees with all of an entry is dropped.
        include: whole rows over `values`, added after exclude.
        output: what is written.
        render: the keys of `render:` that were given; `auto` stays.
        hooks: commands and addresses by one of `HOOKS`.
        stage: which stage this is.
        recipe: what its rows are made by in place of a table; None where the spec has none.
        later: the stages after the first, in order; none of a stage that is not the first.
        lines: line of each key in the file, by dotted path, for what is found wrong only when rows are made.
    """

    name: str
    path: Path | None
    base: Path
    values: Mapping[str, Any]
    axes: tuple[Axis, ...] = ()
    zip: tuple[Axis, ...] = ()
    rows: Path | None = None
    rows_base: Path | None = None
    links_within: Path | None = None
    parents: Path | None = None
    wildcards: Path | None = None
    fine_tunes: Path | None = None
    exclude: tuple[Mapping[str, Any], ...] = ()
    include: tuple[Mapping[str, Any], ...] = ()
    output: Output = field(default_factory=Output)
    render: Mapping[str, Any] = field(default_factory=dict)
    hooks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    stage: Stage = field(default_factory=Stage)
    recipe: Recipe | None = None
    later: tuple[JobSpec, ...] = ()
    lines: Mapping[str, int] = field(default_factory=dict, compare=False, repr=False)

    @property
    def cells_base(self) -> Path:
        """Where paths in the table's cells start."""
        return self.rows_base or self.base

    @property
    def links_base(self) -> Path:
        """The folder within which links in inputs are followed."""
        return self.links_within or self.base

    @property
    def names_base(self) -> Path:
        """Where `loras/`, `embeddings/` and `hypernetworks/` are looked for, and one folder up."""
        return self.fine_tunes or self.base


@dataclass(frozen=True)
class Setting:
    """What a key of `render:` may be.

    Attributes:
        choices: allowed texts.
        low, high: bounds, where a whole number is allowed too.
        switch: whether it is on or off.
    """

    about: str
    choices: tuple[str, ...] = ()
    low: int | None = None
    high: int | None = None
    switch: bool = False


RENDER: dict[str, Setting] = {
    "batch_size": Setting("pictures a pipeline call; every batch is padded to it", ("auto",), 1, 1024),
    "threads": Setting("CPU threads; auto is the physical cores", ("auto",), 1, 1024),
    "dtype": Setting("number format of the weights", ("auto", "float32", "float16", "bfloat16")),
    "device": Setting("kind of device", ("auto", "cpu", "cuda", "mps")),
    "attention": Setting("how attention is computed", ("auto", "sdpa", "eager", "sliced")),
    "compile": Setting("whether the network is compiled", switch=True),
    "vae_tiling": Setting("whether pictures are decoded in tiles", switch=True),
    "vram": Setting("low keeps only the part in use on the device", ("auto", "low")),
    "oom": Setting("when memory runs out: degrade, or let the rows fail", ("degrade", "fail")),
}
SWITCH = {"on": True, "yes": True, "true": True, "off": False, "no": False, "false": False}
