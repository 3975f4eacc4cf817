"""Hugging Face ids → folders of the hub's cache, at one commit."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from sdbatch.errors import ModelError

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_PATTERNS = ("*.json", "*.txt", "*.model", "*/*.safetensors", "*.safetensors")


def snapshot(name: str, revision: str | None) -> tuple[Path, str]:
    """The hub's files at a revision, from the local cache where they are complete: (folder, commit).

    Raises:
        ModelError: they are not in the cache and the hub cannot be asked.
    """
    from huggingface_hub import constants, snapshot_download

    wanted: dict[str, Any] = {
        "repo_id": name,
        "revision": revision,
        "allow_patterns": list(_PATTERNS),
        "ignore_patterns": ["*.fp16.*", "*.bf16.*", "*non_ema*", "v1-*.safetensors", "safety_checker/*"],
    }
    pinned = revision is not None and re.fullmatch(r"[0-9a-f]{40}", revision) is not None
    try:
        try:
            folder = Path(snapshot_download(**wanted, local_files_only=pinned or constants.HF_HUB_OFFLINE))
        except OSError:
            folder = Path(snapshot_download(**wanted))
    except (OSError, ValueError) as error:  # hub errors are subclasses of these
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        reason = reason.removeprefix("Got: ")
        raise ModelError(f"model {name!r}: not in the local cache, and the hub cannot be asked: {reason}") from error
    return folder, folder.name
