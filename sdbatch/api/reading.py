"""Pictures of any tool → rows: their metadata as parameters, with tags taken out of prompts and their inputs found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sdbatch import foreign, modes
from sdbatch.api import places
from sdbatch.errors import InputError, StoreError
from sdbatch.foreign import Found
from sdbatch.foreign.found import shown
from sdbatch.parameters import PARAMETERS
from sdbatch.prompts import loratags
from sdbatch.sources import acceleration, files, finetunes, masks, parents
from sdbatch.spec.paths import Move
from sdbatch.store import carried
from sdbatch.store.directory import JOB, RUNS, RunDirectory

_PARENTS = 6
"""How far up from a picture its run directory is looked for."""


@dataclass(frozen=True)
class Read:
    """What one picture says of itself.

    Attributes:
        picture: its path, as given.
        base: absolute folder that the paths in `found.params` start from.
        within: links in them lead no further than from here; None is `base`.
        run: the run directory that the picture lies in; None where it lies in none.
    """

    picture: Path
    found: Found
    base: Path
    within: Path | None = None
    run: Path | None = None

    @property
    def name(self) -> str:
        """The picture's path for a message."""
        return files.show(self.picture)

    def missing(self) -> list[str]:
        """Inputs that the row's mode reads and that are not there, as `image photos/a.jpg`."""
        lost = [(name, text) for name, text in places.inputs(self.found.params) if not places.there(self.base, text)]
        lost += [
            (name, one.path)
            for name, one in self._parents()
            if not (self.run and one.inside and places.there(self.run, one.path))
        ]
        return [f"{name} {files.show(text)}" for name, text in lost]

    @property
    def above(self) -> Path | None:
        """The run directory that has the picture which this one was made from; None where no stage's was."""
        return self.run if self._parents() else None

    def _parents(self) -> list[tuple[str, parents.Parent]]:
        found = ((name, parents.read(self.found.params.get(name))) for name in parents.TAKING)
        return [(name, one) for name, one in found if one is not None]

    def moved(self, to: Path) -> dict[str, Any]:
        """The parameters, with the paths in them rewritten to start from another folder."""
        move = Move(self.base, to)
        return {name: move.value(name, value) for name, value in self.found.params.items()}


def read(picture: Path, base: Path | None = None) -> Read:
    """Read a picture's metadata.

    Args:
        base: the folder that paths in the metadata start from; None looks for it.

    Raises:
        InputError: it is no picture, or there is nothing in it that says how it was made.
    """
    found = foreign.read(carried.texts(picture))
    if found is None:
        raise InputError(f"{files.show(picture)}: holds nothing that says how it was made")
    if not found.params:
        why = "; ".join(f"{key}: {text}" for key, text in found.unmapped.items())
        raise InputError(f"{files.show(picture)}: nothing that {found.tool} says of it has a place here ({why})")
    found = _fitting(_without_tags(found))
    lacking = [name for name in modes.get(_mode(found.params)).NEEDS if found.params.get(name) is None]
    if lacking:
        raise InputError(
            f"{files.show(picture)}: mode {_mode(found.params)} needs {', '.join(lacking)}, which is not told"
        )
    start = places.Base(base.absolute()) if base else _base(picture, found.params)
    return Read(picture, found, start.path, start.within, _run(picture))


def _mode(params: Mapping[str, Any]) -> str:
    return str(params.get("mode", "txt2img"))


def _fitting(found: Found) -> Found:
    """Without what the row's mode cannot have, which is then listed."""
    uses = modes.get(_mode(found.params)).USES
    params, unmapped = {}, dict(found.unmapped)
    for name, value in found.params.items():
        wrong = None
        if name not in uses and value != PARAMETERS[name].default:
            wrong = f"{value} (mode {_mode(found.params)} has no use for it)"
        elif name in finetunes.KINDS:
            wrong = finetunes.problem(name, value)
        elif name == "mask" and value is not None:
            wrong = masks.problem(value)
        elif name == "accelerate":
            wrong = acceleration.problem(value)
        if wrong:
            unmapped[name] = shown(wrong)
        elif name in uses:
            params[name] = value
    return replace(found, params=params, unmapped=unmapped)


def _without_tags(found: Found) -> Found:
    """Tags such as `<lora:name:0.8>` as the fine-tunes that they name; a prompt with a broken one is plain text."""
    if found.own or found.params.get("prompt_syntax") == "plain" or "<" not in found.params.get("prompt", ""):
        return found
    params = dict(found.params)
    try:
        prompt, tags = loratags.extract(params["prompt"])
    except ValueError as error:
        unmapped = {**found.unmapped, "tags in the prompt": files.show(str(error))}
        return replace(found, params={**params, "prompt_syntax": "plain"}, unmapped=unmapped)
    unmapped = dict(found.unmapped)
    loras = list(params.get("loras", []))
    nets = [tag for tag in tags if tag.kind == "hypernet"]
    for tag in tags:
        if tag.kind == "lora" and tag.name not in [lora["name"] for lora in loras]:
            loras.append({"name": tag.name, "weight": tag.weight})
            if tag.unet not in (None, tag.weight):
                unmapped[f"<lora:{files.show(tag.name)}>"] = f"weight {tag.unet} in the UNet"
    if nets:
        params["hypernetwork"] = {"name": nets[0].name, "strength": nets[0].weight}
        unmapped |= {f"<hypernet:{files.show(tag.name)}>": "a second hypernetwork" for tag in nets[1:]}
    params["prompt"] = prompt.strip()  # a tag's own space changes no token
    return replace(found, params={**params, **({"loras": loras} if loras else {})}, unmapped=unmapped)


def _base(picture: Path, params: Mapping[str, Any]) -> places.Base:
    """The folder in which most of what the row names lies."""
    named = places.named(params)
    return places.nearest(_candidates(picture), named) if named else places.Base(Path.cwd())


def _run(picture: Path) -> Path | None:
    """The run directory that a picture lies in."""
    here = picture.absolute().parent
    folders = (here, *here.parents[:_PARENTS])
    return next((one for one in folders if (one / JOB).is_file() and (one / RUNS).is_file()), None)


def _candidates(picture: Path) -> Sequence[places.Base]:
    """Where the runs of a picture's directory found their inputs, then the working directory, then its own folder."""
    here = picture.absolute().parent
    found: list[places.Base] = []
    if (folder := _run(picture)) is not None:
        try:
            runs = RunDirectory(folder).runs()
        except (StoreError, OSError):
            runs = []
        found = [base for run in [*runs, {}] for base in places.bases(folder, run)]
    return [*dict.fromkeys(found), places.Base(Path.cwd()), places.Base(here)]
