"""Small pictures for a page."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sdbatch.report.drawing import thumbnail
from sdbatch.store import base as stores

SIDE, QUALITY, THREADS = 192, 70, 4


def webp(path: Path) -> bytes:
    """A picture as WebP, at most SIDE pixels a side; never enlarged.

    Raises:
        OSError: it is missing or broken.
    """
    picture = thumbnail(path, (SIDE, SIDE), enlarge=False)
    data = io.BytesIO()
    picture.save(data, "WEBP", quality=QUALITY)
    return data.getvalue()


def inline(paths: Sequence[Path]) -> list[str | None]:
    """Data URLs; None for pictures that cannot be read."""
    with ThreadPoolExecutor(THREADS, thread_name_prefix="thumbs") as pool:
        return list(pool.map(_url, paths))


def beside(pictures: Sequence[tuple[Path, str]], folder: Path) -> int:
    """Write `NAME.webp` of each (picture, NAME) where it is not there or older than the picture; gives how many.

    Raises:
        StoreError: the folder cannot be written.
    """
    with ThreadPoolExecutor(THREADS, thread_name_prefix="thumbs") as pool:
        return sum(pool.map(lambda one: _written(one[0], folder / f"{one[1]}.webp"), pictures))


def _url(path: Path) -> str | None:
    try:
        return "data:image/webp;base64," + base64.b64encode(webp(path)).decode("ascii")
    except OSError:
        return None


def _written(path: Path, target: Path) -> bool:
    try:
        if target.stat().st_mtime_ns >= path.stat().st_mtime_ns:
            return False
    except OSError:
        pass
    try:
        data = webp(path)
    except OSError:
        return False
    stores.at(target.parent).replace(target.name, data, flush=False)
    return True
