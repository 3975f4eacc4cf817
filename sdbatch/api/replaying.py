"""Make pictures again from what they say of themselves, and compare."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sdbatch import errors, prepare
from sdbatch.api import comparing, reading, running, working
from sdbatch.api.reading import Read
from sdbatch.api.remaking import Settings
from sdbatch.foreign.found import storable
from sdbatch.parameters import PARAMETERS
from sdbatch.sources import files, finetunes
from sdbatch.store.directory import RunDirectory
from sdbatch.types import Render

TABLE = "replay.jsonl"
"""The job that a replay leaves in its directory."""
OUT = Path("runs/replay")
SOURCE, TOOL = "source_path", "tool"
"""The free columns that say where a row comes from."""
_FINE_TUNES = ("loras", "embeddings", "hypernetwork")


@dataclass(frozen=True)
class ReplayOptions:
    """What is asked of a replay.

    Attributes:
        out: the run directory; None is runs/replay.
        model: a model in place of the pictures' own.
        overrides: `KEY=VALUE` texts; a parameter's replaces that of every picture.
        base: the folder that paths in the metadata start from; None looks for it.
    """

    out: Path | None = None
    model: str | None = None
    overrides: Sequence[str] = ()
    base: Path | None = None


@dataclass(frozen=True)
class Replay:
    """Pictures read and found fit to be made again, in groups that are made one way each."""

    options: ReplayOptions
    reads: tuple[Read, ...]
    groups: tuple[Group, ...]

    def rows(self) -> list[dict[str, Any]]:
        """What each picture's row is, as a table's line."""
        dropped = _overridden(self.options)
        return [_row(read, dropped) for read in self.reads]


@dataclass(frozen=True)
class Group:
    """Pictures that one run can make: of one base, reach of links and run of earlier stages, by one `render:`.

    Attributes:
        render: None where no picture of the group tells how it was made.
    """

    render: Render | None
    base: Path
    within: Path | None
    parents: Path | None
    reads: tuple[Read, ...]


@dataclass(frozen=True)
class ReplayReport:
    """What a replay came to.

    Attributes:
        altered: whether the user gave a parameter or a model, so that another picture is what was asked for.
    """

    pictures: tuple[comparing.Replayed, ...]
    altered: bool = False
    stopped: bool = False
    schema: int = 1

    @property
    def exit_code(self) -> int:
        """1 where a picture was not made, or one of sdbatch's own came out otherwise though nothing was altered."""
        if self.stopped:
            return errors.EXIT_INTERRUPTED
        results = {picture.result for picture in self.pictures}
        own = {picture.result for picture in self.pictures if picture.tool == "sdbatch"}
        wrong = comparing.FAILED in results or (comparing.DIFFERENT in own and not self.altered)
        return errors.EXIT_ROWS_FAILED if wrong else errors.EXIT_OK


def read_pictures(pictures: Iterable[Path], options: ReplayOptions) -> Replay:
    """Read pictures' metadata; nothing is made yet.

    Raises:
        UsageError: one cannot be made again: it says nothing of itself, an input is not there, no model is known. All
            such are named.
    """
    wrong: list[str] = []
    reads: list[Read] = []
    groups: dict[tuple[Render | None, Path, Path | None, Path | None], list[Read]] = {}
    settings, dropped = Settings(), _overridden(options)
    for picture in dict.fromkeys(pictures):
        try:
            read = reading.read(picture, options.base)
        except errors.InputError as error:
            wrong.append(str(error))
            continue
        problems = _problems(read, dropped)
        wrong += [f"{files.show(picture)}: {problem}" for problem in problems]
        reads.append(read)
        groups.setdefault((settings.of(read.found), read.base, read.within, read.above), []).append(read)
    if wrong:
        raise errors.UsageError("\n".join(wrong))
    return Replay(options, tuple(reads), tuple(Group(*key, tuple(members)) for key, members in groups.items()))


def replay(
    asked: Replay,
    listener: working.Listener,
    stopping: Callable[[], bool] = lambda: False,
    command: Sequence[str] = (),
) -> ReplayReport:
    """Make pictures again and compare them with what they were.

    Raises:
        BusyError, StoreError, SpecError, ModelError, UsageError: as `run`.
    """
    out, stopped = asked.options.out or OUT, False
    done: dict[Path, comparing.Replayed] = {}
    taken: dict[Path, Render | None] = {}
    for group in asked.groups:
        job = _job(group, _directory(out, group.render, taken), asked.options)
        stopped = running.run(job, working.RunOptions(executor="local"), listener, stopping, command).stopped
        keys = [row.row for row in job.rows.take(range(len(group.reads)))]
        compared = comparing.compare(job.directory, zip(group.reads, keys, strict=True))
        done |= {read.picture: line for read, line in zip(group.reads, compared, strict=True)}
        if stopped:
            break
    pictures = tuple(done[read.picture] for read in asked.reads if read.picture in done)
    return ReplayReport(pictures, altered=bool(_overridden(asked.options)), stopped=stopped)


def _overridden(options: ReplayOptions) -> set[str]:
    """The parameters that the user gives, which no row may then have."""
    names = {text.partition("=")[0].partition(".")[0].strip() for text in options.overrides}
    return (names & PARAMETERS.keys()) | ({"model", "revision"} if options.model else set())


def _problems(read: Read, dropped: set[str]) -> list[str]:
    """Why a picture cannot be made again."""
    found = read.found
    problems = [
        f"{missing} is not there (looked for in {files.show(read.base)}; --base names another folder)"
        for missing in read.missing()
        if missing.partition(" ")[0] not in dropped
    ]
    if not found.own and "model" not in dropped:
        named = (
            f"with {found.model!r}, as {found.tool} calls it" if found.model else "with a model that it does not name"
        )
        problems.append(f"was made {named}; --model says which one that is here")
    return problems


def _row(read: Read, dropped: set[str]) -> dict[str, Any]:
    params = {name: value for name, value in read.found.params.items() if name not in dropped and value is not None}
    return {**params, SOURCE: storable(str(read.picture)), TOOL: read.found.tool}


def _directory(out: Path, render: Render | None, taken: dict[Path, Render | None]) -> Path:
    """`out`, or a folder in it where `out` holds what was made another way: a run directory is made one way."""
    if _fits(out, render, taken):
        taken[out] = render
        return out
    how = "usual" if render is None else hashlib.blake2b(json.dumps(asdict(render)).encode(), digest_size=4).hexdigest()
    inside = out / how
    number = 2
    while not _fits(inside, render, taken):
        inside, number = out / f"{how}-{number}", number + 1
    taken[inside] = render
    return inside


def _fits(directory: Path, render: Render | None, taken: Mapping[Path, Render | None]) -> bool:
    if directory in taken:
        return False  # by another group: its table is its own
    runs = RunDirectory(directory).runs() if directory.is_dir() else []
    return not runs or render is None or runs[0]["render"] == asdict(render)


def _job(group: Group, directory: Path, options: ReplayOptions) -> prepare.Job:
    """The group's rows as a table in their directory, and as a job."""
    dropped = _overridden(options)
    lines = "".join(json.dumps(_row(read, dropped)) + "\n" for read in group.reads)
    target = RunDirectory(directory)
    target.store.replace(TABLE, lines.encode())
    settings = {f"render.{name}": value for name, value in _given(group.render).items()}
    settings["rows_base"] = str(group.base)
    settings["links_within"] = str(group.within or group.base)
    if group.parents is not None:
        settings["parents"] = str(group.parents)
    if any(read.found.params.get(name) for read in group.reads for name in _FINE_TUNES) and finetunes.folders(
        group.base
    ):
        settings["fine_tunes"] = str(group.base)
    overrides = [*(f"{key}={json.dumps(value)}" for key, value in settings.items()), *options.overrides]
    return prepare.job(directory / TABLE, out=directory, overrides=overrides, model=options.model)


def _given(render: Render | None) -> dict[str, Any]:
    """`render:` as a spec says it; a batch size of 0 is `auto`, which is left out."""
    return {} if render is None else {key: value for key, value in asdict(render).items() if value or value is False}
