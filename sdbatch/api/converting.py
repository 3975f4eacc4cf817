"""Pickled weights → safetensors, by a process of its own for each file; this one unpickles nothing."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from sdbatch.errors import ModelError, StoreError, UsageError
from sdbatch.sources.layouts import PICKLES, SAFETY

# What diffusers and transformers call weights; a folder may hold other pickles, such as an optimizer's.
_WEIGHTS = re.compile(r"(diffusion_pytorch_model|pytorch_model)((?:\.(?:fp16|bf16|non_ema))?(?:-\d+-of-\d+)?)\.bin")
_INDEX = re.compile(r"(diffusion_pytorch_model|pytorch_model)\.bin\.index(\.\w+)?\.json")
_KEPT = ("PATH", "PYTHONPATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "TMPDIR")


def convert(path: Path, *, to: Path | None = None, force: bool = False) -> Iterator[Path]:
    """Convert a file, or every part of a diffusers folder that is there only as a pickle; gives the files written.

    Args:
        to: the file to write; beside the source by default. Not for folders.
        force: overwrite what is there.

    Raises:
        UsageError: there is nothing to convert, or the target exists.
        ModelError: a file holds more than weights, or none.
        StoreError: the target cannot be written.
    """
    if path.is_dir():
        if to is not None:
            raise UsageError("--to is for one file; a folder's parts are written beside what they are made of")
        yield from _folder(path, force)
        return
    if not path.is_file():
        raise UsageError(f"{path}: no such file or folder")
    if path.suffix not in PICKLES:
        raise UsageError(f"{path}: not one of {' '.join(PICKLES)}")
    yield _file(path, to or path.with_suffix(".safetensors"), force)


def _folder(path: Path, force: bool) -> Iterator[Path]:
    pairs = [(file, _named(file)) for file in sorted([*path.glob("*.bin"), *path.glob("*/*.bin")])]
    wanted = [(file, target) for file, target in pairs if target is not None and file.parent.name != SAFETY]
    left = [(file, target) for file, target in wanted if force or not target.exists()]
    if not left:
        said = "its parts are safetensors already" if wanted else "no part of it is a .bin file of weights"
        raise UsageError(f"{path}: nothing to convert; {said}")
    for file, target in left:
        yield _file(file, target, force)
    for index in sorted([*path.glob("*.index*.json"), *path.glob("*/*.index*.json")]):
        if _INDEX.fullmatch(index.name):
            yield _shards(index)


def _named(file: Path) -> Path | None:
    """What the libraries call the same weights as safetensors; None for a file that is no weights of theirs."""
    found = _WEIGHTS.fullmatch(file.name)
    return file.with_name(f"{_stem(found[1])}{found[2]}.safetensors") if found else None


def _stem(stem: str) -> str:
    return "model" if stem == "pytorch_model" else stem


def _shards(index: Path) -> Path:
    """Write the index of shards anew, with the names of the safetensors files."""
    found = _INDEX.fullmatch(index.name)
    assert found is not None
    target = index.with_name(f"{_stem(found[1])}.safetensors.index{found[2] or ''}.json")
    try:
        held = json.loads(index.read_text(encoding="utf-8"))
        for key, name in held["weight_map"].items():
            named = _named(index.with_name(str(name)))
            held["weight_map"][key] = named.name if named else name
        target.write_text(json.dumps(held, indent=2) + "\n", encoding="utf-8")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{index}: no index of shards") from error
    except OSError as error:
        raise StoreError(f"{target}: {error.strerror}") from error
    return target


def _file(source: Path, target: Path, force: bool) -> Path:
    if target.suffix != ".safetensors":
        raise UsageError(f"{target}: what is written is safetensors; name it so")
    if target.exists() and not force:
        raise UsageError(f"{target}: exists already; --force overwrites it")
    if not target.parent.is_dir():
        raise UsageError(f"{target.parent}: no such folder")
    # -P: a file called torch.py in the working directory is not what is meant by torch.
    command = [sys.executable, "-P", "-m", "sdbatch.render.convert", str(source.absolute()), str(target.absolute())]
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
    environment |= {"CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        said = lines[-1] if lines else f"the process that converts ended with {done.returncode}"
        if done.returncode < 0:
            said = f"the process that converts was ended by signal {-done.returncode}; is there memory for the file?"
        raise ModelError(f"{source}: {said}")
    return target
