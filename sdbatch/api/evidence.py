"""Which of the things that a row names are others than when its line was written."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from sdbatch.sources import files, masks
from sdbatch.sources.inputs import MISSING
from sdbatch.sources.names import Sources
from sdbatch.spec.known import Known

_PARTS = ("vae", "controlnet")


def changed(line: Mapping[str, Any], known: Known, sources: Sources, run: Mapping[str, Any]) -> list[str]:
    """Why a line's parameters do not give its `id` here, in words; nothing where they do.

    Args:
        run: the run that made it, as runs.jsonl has it, or a part of it.
    """
    if known.id == line["id"]:
        return []
    params = known.params
    found = [] if known.model_hash == line["model_hash"] else [f"model {files.show(params['model'])} is another"]
    found += [f"{what} is another than it was made with" for what in _others(line, params, sources, run)]
    found += _inputs(line, params, sources)
    return found or ["its parameters do not give its id: one was changed in the manifest, or an input without a hash"]


def _inputs(line: Mapping[str, Any], params: Mapping[str, Any], sources: Sources) -> Iterator[str]:
    name = "image" if params["image"] else "control_image"
    named = [(name, params[name], line["image_sha256"])]
    named += [("mask", one, line["mask_sha256"]) for one in masks.names(params["mask"])[:1]]
    for parameter, value, sha256 in named:
        if not isinstance(value, str) or not sha256:
            continue
        here = sources.inputs.find(value)
        if here.sha256.startswith(MISSING):
            yield f"{parameter} {files.show(value)} is gone"
        elif here.sha256 != sha256:
            yield f"{parameter} {files.show(value)} is another file than it was made from ({files.show(here.path)})"


def _others(
    line: Mapping[str, Any], params: Mapping[str, Any], sources: Sources, run: Mapping[str, Any]
) -> Iterator[str]:
    then = {model["name"]: model["hash"] for model in run.get("models", ())}
    for parameter in _PARTS:
        for model in sources.parts(parameter, params[parameter]):
            if then.get(model.name, model.hash) != model.hash:
                yield f"{parameter} {files.show(model.name)}"
    before = {(tune["kind"], tune["name"]): tune["sha256"] for tune in json.loads(line["fine_tunes"] or "[]")}
    for tune in sources.finetunes.choose(params).listing():
        if before.get((tune["kind"], tune["name"])) != tune["sha256"]:
            yield f"{tune['kind']} {files.show(tune['name'])}"
