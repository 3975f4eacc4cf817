"""One pickled file of weights → safetensors, in a process of its own: `python -m sdbatch.render.convert FROM TO`.

The pickle is read by torch's restricted unpickler (`weights_only=True`), which builds tensors and
plain containers and refuses every other name. The process prints one JSON object, or one line of
what is wrong on standard error and ends with 3.
"""

from __future__ import annotations

import json
import os
import pickle
import re
import resource
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from sdbatch.errors import ModelError
from sdbatch.render import embeddings, hypernetworks

REFUSED = 3
_ROOM = 16 * 2**30  # bytes of address space beside four times the file
_WRAPPERS = ("state_dict", "model", "module", "params_ema", "params")
_PLAIN = (str, int, float, bool)


class _Inert:
    """Stands for a class of a trainer's notes, which old checkpoints name beside their weights. Does nothing."""


class _RefusedError(Exception):
    """The file is not converted; the text says why."""


def main(source: str, target: str) -> None:
    """Convert one file; the target is complete or absent."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(ValueError, OSError):  # a tighter limit is set already
        room = 4 * os.path.getsize(source) + _ROOM
        resource.setrlimit(resource.RLIMIT_AS, (room, room))
    try:
        tensors, notes = _flat(_load(source))
        _save(tensors, {"format": "pt", **notes}, Path(target))
    except _RefusedError as error:
        print(str(error), file=sys.stderr)
        sys.exit(REFUSED)
    print(json.dumps({"tensors": len(tensors), "bytes": os.path.getsize(target)}))


def _load(source: str) -> Any:
    name = "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint"
    torch.serialization.add_safe_globals([(_Inert, name)])
    options: dict[str, Any] = {"map_location": "cpu", "weights_only": True}
    try:
        try:
            return torch.load(source, mmap=True, **options)
        except RuntimeError:  # the layout before torch 1.6 cannot be mapped
            return torch.load(source, mmap=False, **options)
    except pickle.UnpicklingError as error:
        raise _RefusedError(_why(str(error))) from error
    except (OSError, EOFError, RuntimeError, ValueError, KeyError, AttributeError, TypeError, MemoryError) as error:
        lines = str(error).strip().splitlines()
        raise _RefusedError(f"it is no file of weights: {lines[0] if lines else type(error).__name__}") from error


def _why(said: str) -> str:
    found = re.search(r"GLOBAL ([\w.]+)", said) or re.search(r"(?:class|function) ([\w.]+)", said)
    if found:
        return f"it asks for {found[1]}, which is no weight and could run code; nothing of it was run"
    return "it is no file of weights, or holds more than weights; nothing of it was run"


def _flat(loaded: Any) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Tensors by name, and the plain values beside them as text."""
    flattened = _fine_tune(loaded)
    if flattened is not None:
        tensors, notes = flattened
        return _own(tensors), dict(notes)
    notes = {}
    while isinstance(loaded, Mapping) and not any(isinstance(value, torch.Tensor) for value in loaded.values()):
        notes |= {str(key): str(value) for key, value in loaded.items() if isinstance(value, _PLAIN)}
        inner = next((loaded[key] for key in _WRAPPERS if isinstance(loaded.get(key), Mapping)), None)
        if inner is None:
            break
        loaded = inner
    held = loaded.items() if isinstance(loaded, Mapping) else ()
    tensors = {key: value for key, value in held if isinstance(value, torch.Tensor)}
    if not tensors or not all(isinstance(key, str) for key in tensors):
        raise _RefusedError("it holds no tensors by name")
    return _own(tensors), notes


def _fine_tune(loaded: Any) -> tuple[Mapping[str, torch.Tensor], Mapping[str, str]] | None:
    """What the fine-tunes' own layouts make of it: embeddings and hypernetworks are no flat dictionaries."""
    try:
        return hypernetworks.flatten(loaded) or embeddings.flatten(loaded)
    except ModelError as error:
        raise _RefusedError(str(error)) from error


def _own(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Each tensor in memory of its own and in order, as safetensors needs; bits and dtypes as they are."""
    seen: set[int] = set()
    found = {}
    for key, tensor in tensors.items():
        tensor = tensor.detach()
        if tensor.layout != torch.strided or tensor.is_quantized:
            raise _RefusedError(f"{key} is sparse or quantized, which safetensors cannot hold")
        storage = tensor.untyped_storage()
        if not tensor.is_contiguous() or storage.data_ptr() in seen or storage.nbytes() != tensor.nbytes:
            tensor = tensor.clone(memory_format=torch.contiguous_format)
        seen.add(tensor.untyped_storage().data_ptr())
        found[key] = tensor
    return found


def _save(tensors: dict[str, torch.Tensor], notes: dict[str, str], target: Path) -> None:
    """Write beside the target, then rename."""
    try:
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".convert-") as folder:
            made = Path(folder) / "made.safetensors"
            save_file(tensors, str(made), metadata=notes)
            with made.open("rb+") as file:
                os.fsync(file.fileno())
            os.replace(made, target)
    except (OSError, SafetensorError, ValueError, RuntimeError) as error:
        raise _RefusedError(f"{target} cannot be written: {error}") from error


if __name__ == "__main__":
    main(*sys.argv[1:3])
