"""What to repaint: the forms of a row's `mask`, their files, and the mask itself.

"mask.png"                              a picture: white is repainted, black kept, grey in between
[x, y, width, height]                   a box in pixels of the picture
{color: "#00ff00", tolerance: 30}       the pixels of a colour, and of those near it
"alpha" or {alpha: true}                the pixels that are transparent
{boxes: [[x, y, width, height], ...]}   several boxes
{faces: true}                           what a detector finds; see `faces`
{invert: MASK}                          all but those
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdbatch.errors import InputError
from sdbatch.sources import files

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ALLOWED = (
    "a mask is a picture's path, a box [x, y, width, height], {color: '#00ff00', tolerance: 30}, alpha, "
    "{boxes: [...]}, {faces: true}, or {invert: MASK}"
)
TOLERANCE = 0
"""Of a colour key that gives none: the very colour."""
TOLERANCE_MAX = 442  # the length of 255, 255, 255
_COLOUR = re.compile(r"#([0-9a-fA-F]{2})([0-9a-fA-F]{2})([0-9a-fA-F]{2})\Z")
_DEEPEST = 8


def problem(value: Any) -> str | None:
    """Say what is wrong with a mask's form, without a look at any file; None where nothing is."""
    return _problem(value, 0)


def names(value: Any) -> list[str]:
    """The files that a mask names."""
    if isinstance(value, dict) and "invert" in value:
        return names(value["invert"])
    return [value] if isinstance(value, str) and value != "alpha" else []


def content(value: Any, hash_of: Callable[[str], str]) -> Any:
    """A mask with the hashes of its files in place of their names, and one spelling for one meaning: for an `id`."""
    if isinstance(value, dict) and "invert" in value:
        return {"invert": content(value["invert"], hash_of)}
    if isinstance(value, dict) and "alpha" in value:
        return "alpha"
    if isinstance(value, dict) and "faces" in value:
        from sdbatch.sources import faces

        detector, threshold, margin, _ = faces.settings(value["faces"])
        return {"faces": [faces.installed(detector), threshold, margin]}
    if isinstance(value, dict) and "color" in value:
        return {"color": str(value["color"]).lower(), "tolerance": value.get("tolerance", TOLERANCE)}
    return {"picture": hash_of(value)} if isinstance(value, str) and value != "alpha" else value


def renamed(value: Any, change: Callable[[str], str]) -> Any:
    """A mask with its files' names changed."""
    if isinstance(value, dict) and "invert" in value:
        return {**value, "invert": renamed(value["invert"], change)}
    return change(value) if isinstance(value, str) and value != "alpha" else value


def read(
    value: Any,
    picture: Path,
    size: tuple[int, int],
    base: Path,
    pixels: NDArray[np.uint8] | None = None,
    within: Path | None = None,
) -> NDArray[np.uint8]:
    """Make the mask of a picture.

    Args:
        value: one of the forms above.
        picture: the picture's file, for masks that are made of it.
        size: the picture's width and height, upright, before any fit.
        base: relative paths start here.
        pixels: the picture where it has been read already, (h, w, 3).
        within: links lead no further than from here; see `files.reached`. None is `base`.

    Returns:
        (h, w) uint8, 255 = repaint, 0 = keep, in the picture's own pixels.

    Raises:
        InputError: a file cannot be read, the mask does not fit the picture, or it selects nothing.
    """
    wrong = problem(value)
    if wrong:
        raise InputError(f"mask: {wrong}")
    mask = _made(value, picture, size, lambda name: files.reached(base, name, within), pixels)
    if not mask.any() and not (isinstance(value, dict) and "faces" in value):
        raise InputError(f"mask {_show(value)} selects no pixel of {files.show(picture)}")
    return mask


def _made(
    value: Any,
    picture: Path,
    size: tuple[int, int],
    reach: Callable[[str], Path],
    pixels: NDArray[np.uint8] | None,
) -> NDArray[np.uint8]:
    if isinstance(value, dict) and "invert" in value:
        inner: NDArray[np.uint8] = 255 - _made(value["invert"], picture, size, reach, pixels)
        return inner
    if isinstance(value, list):
        return _box(value, size)
    if isinstance(value, dict) and "faces" in value:
        return _faces(value["faces"], picture, pixels)
    if isinstance(value, dict) and "boxes" in value:
        whole = 0 * _box(value["boxes"][0], size)
        for box in value["boxes"]:
            whole |= _box(box, size)
        return whole
    if isinstance(value, dict) and "color" in value:
        return _key(value, picture, pixels)
    if value == "alpha" or isinstance(value, dict):
        return _transparent(picture)
    return _file(reach(value), size)


def _box(value: list[Any], size: tuple[int, int]) -> NDArray[np.uint8]:
    import numpy as np

    x, y, width, height = value
    mask = np.zeros((size[1], size[0]), np.uint8)
    mask[_edge(y) : _edge(y + height), _edge(x) : _edge(x + width)] = 255
    return mask


def _edge(value: float) -> int:
    return math.floor(value + 0.5)


def _key(value: dict[str, Any], picture: Path, pixels: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
    """Euclidean distance in sRGB, 0..255 a channel; the picture as read, so over white where it is transparent."""
    import numpy as np

    if pixels is None:
        from sdbatch.sources import pictures

        pixels = pictures.read(picture)
    match = _COLOUR.match(value["color"])
    assert match is not None
    tolerance = float(value.get("tolerance", TOLERANCE))
    far = np.zeros(pixels.shape[:2], np.int32)
    for channel, text in enumerate(match.groups()):
        off = pixels[..., channel].astype(np.int32) - int(text, 16)
        far += off * off
    return np.where(far <= tolerance * tolerance, 255, 0).astype(np.uint8)


def _faces(given: Any, picture: Path, pixels: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
    from sdbatch.sources import faces, pictures

    detector, threshold, margin, kept = faces.settings(given)
    pixels = pictures.read(picture) if pixels is None else pixels
    found = faces.find(pixels, detector, threshold)
    if not found and not kept:
        raise faces.nothing(files.show(picture))
    return faces.mask(pixels, found, margin)


def _transparent(picture: Path) -> NDArray[np.uint8]:
    from sdbatch.sources import pictures

    alpha = pictures.read_alpha(picture)
    if alpha is None:
        raise InputError(f"mask alpha: {files.show(picture)} has no transparency")
    opposite: NDArray[np.uint8] = 255 - alpha
    return opposite


def _file(path: Path, size: tuple[int, int]) -> NDArray[np.uint8]:
    """A picture's luminance (ITU-R BT.601) over black, at the size of the picture that it masks."""
    import numpy as np
    from PIL import Image

    from sdbatch.sources import pictures
    from sdbatch.sources.decode import decode

    found = decode(path)
    mask = np.asarray(Image.fromarray(found.colours).convert("L"))
    if found.alpha is not None:
        mask = pictures.over(mask, found.alpha, 0)
    (width, height), (high, wide) = size, mask.shape
    if not same_shape((wide, high), size):
        raise InputError(
            f"{files.show(path)}: is {wide} x {high}, which is not the shape of its picture, {width} x {height}"
        )
    return pictures.fit(mask, width, height, "resize", "nearest")


def same_shape(one: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether one size, width and height, is the other scaled; its sides are then rounded to whole pixels."""
    (wide, high), (width, height) = sorted((one, other))
    # Either side may have been the one that was asked for; the other is off by less than a pixel of the smaller size.
    return min(abs(wide * height / width - high), abs(high * width / height - wide)) < 1


def _problem(value: Any, depth: int) -> str | None:
    if depth > _DEEPEST:
        return f"invert stands in invert more than {_DEEPEST} times"
    if isinstance(value, str):
        return None if value and "\0" not in value else f"{value!r} is not a path; {ALLOWED}"
    if isinstance(value, list):
        return _box_problem(value)
    if not isinstance(value, dict):
        return f"{_show(value)} is no mask; {ALLOWED}"
    if value.keys() == {"invert"}:
        return _problem(value["invert"], depth + 1)
    return _mapping_problem(value)


def _mapping_problem(value: dict[str, Any]) -> str | None:
    if value.keys() == {"alpha"}:
        return None if value["alpha"] is True else f"alpha: {_show(value['alpha'])} is not true"
    if value.keys() == {"boxes"}:
        return _boxes_problem(value["boxes"])
    if value.keys() == {"faces"}:
        from sdbatch.sources import faces

        return faces.problem(value["faces"])
    if "color" in value and value.keys() <= {"color", "tolerance"}:
        return _key_problem(value)
    return f"{_show(value)} is no mask; {ALLOWED}"


def _boxes_problem(boxes: Any) -> str | None:
    if not isinstance(boxes, list) or not boxes or not all(isinstance(box, list) for box in boxes):
        return f"boxes: {_show(boxes)} is not a list of boxes"
    return next((wrong for box in boxes if (wrong := _box_problem(box))), None)


def _box_problem(value: list[Any]) -> str | None:
    if len(value) != 4 or not all(_number(side) and side >= 0 for side in value):
        return f"{_show(value)} is not a box [x, y, width, height] of numbers from 0"
    return None if value[2] > 0 and value[3] > 0 else f"box {_show(value)} has no width or no height"


def _key_problem(value: dict[str, Any]) -> str | None:
    if not isinstance(value["color"], str) or not _COLOUR.match(value["color"]):
        return f"color: {_show(value['color'])} is not a colour such as '#00ff00'"
    tolerance = value.get("tolerance", TOLERANCE)
    if not _number(tolerance) or not 0 <= tolerance <= TOLERANCE_MAX:
        return f"tolerance: {_show(tolerance)} is not a number from 0 to {TOLERANCE_MAX}"
    return None


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _show(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
