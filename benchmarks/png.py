"""PNG files of photographs: ours against Pillow's default and against Pillow at level 1 with run lengths.

python benchmarks/png.py [--rounds 9] [--pictures FOLDER]

In memory, on one thread. Photographs are those of a folder, or of scikit-image and scikit-learn where they are
installed, else generated ones (a photograph's spectrum and a little grain); each is cut to 512 x 512 at most.
"""

from __future__ import annotations

import importlib.util
import io
import zlib
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import timing
from numpy.typing import NDArray
from PIL import Image, features

from sdbatch.store import png

SIDE = 512
PACKAGES = {
    "skimage": ("data", ("astronaut.png", "coffee.png", "chelsea.png", "motorcycle_left.png", "rocket.jpg",
                         "hubble_deep_field.jpg", "retina.jpg")),
    "sklearn": ("datasets/images", ("china.jpg", "flower.jpg")),
}  # fmt: skip
Pictures = dict[str, NDArray[np.uint8]]


def main() -> None:
    """Measure, and print one JSON object."""
    parser = timing.options(__doc__, rounds=9)
    parser.add_argument("--pictures", type=Path, help="a folder of photographs, as PNG or JPEG")
    options = parser.parse_args()
    found, source = pictures(options.pictures)
    ways: dict[str, Any] = {
        "ours": png.encode,
        "pillow": of_pillow,
        "pillow level 1, run lengths": lambda one: of_pillow(one, compress_level=1, compress_type=zlib.Z_RLE),
    }
    sizes = {name: {way: len(encode(one)) for way, encode in ways.items()} for name, one in found.items()}
    each = {name: timing.interleaved({way: _once(encode, one) for way, encode in ways.items()}, options.rounds)
            for name, one in found.items()}  # fmt: skip
    total = {way: [sum(taken) for taken in zip(*(one[way] for one in each.values()), strict=True)] for way in ways}
    sums = {way: sum(size[way] for size in sizes.values()) for way in ways}
    results = []
    for other, target in (("pillow", 20.0), ("pillow level 1, run lengths", None)):
        by = {name: {"faster": timing.median(timing.ratios(each[name], "ours", other)),
                     "size": round(sizes[name]["ours"] / sizes[name][other], 3)} for name in found}  # fmt: skip
        results.append(timing.compared("PNG of photographs, one thread", total, "ours", other, target, pictures=by))
        size = sums["ours"] / sums[other]
        bound = 1.12 if target else None
        results.append(timing.result("size of PNG files of photographs", round(size, 3), bound, most_allowed=True,
                                     against=other, unit="×"))  # fmt: skip
    libraries = {"isal": metadata.version("isal"), "pillow's zlib": features.version("zlib")}
    timing.report("png", results, photographs=source, libraries=libraries)


def pictures(folder: Path | None) -> tuple[Pictures, str]:
    """Photographs by name, and where they are from."""
    if folder is not None:
        paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".png", ".jpg", ".jpeg"))
        return {path.stem: _read(path) for path in paths}, f"{len(paths)} of a folder"
    paths, sources = [], []
    for package, (where, names) in PACKAGES.items():
        spec = importlib.util.find_spec(package)
        if spec is not None and spec.submodule_search_locations:
            here = Path(spec.submodule_search_locations[0]) / where
            paths += [here / name for name in names if (here / name).exists()]
            sources.append(package)
    if paths:
        return {path.stem: _read(path) for path in paths}, f"{len(paths)} of {' and '.join(sources)}"
    return {str(seed): generated(seed) for seed in range(4)}, "4 generated"


def _read(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        return np.ascontiguousarray(np.asarray(image.convert("RGB"))[:SIDE, :SIDE])


def generated(seed: int) -> NDArray[np.uint8]:
    """(512, 512, 3) uint8: amplitudes of 1/f, as photographs have, and grain."""
    rng = np.random.default_rng(seed)
    pitch = np.hypot(np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE)[None])
    pitch[0, 0] = 1.0
    planes = [np.fft.irfft2(np.fft.rfft2(rng.standard_normal((SIDE, SIDE))) / pitch**1.3, (SIDE, SIDE))
              for _ in range(3)]  # fmt: skip
    mixed = np.stack([planes[0] + 0.25 * plane for plane in planes], axis=-1)
    made = 128 + 48 * mixed / mixed.std() + rng.normal(0, 1.5, mixed.shape)
    return made.clip(0, 255).astype(np.uint8)


def of_pillow(pixels: NDArray[np.uint8], **options: Any) -> bytes:
    """Pillow's file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", **options)
    return buffer.getvalue()


def _once(encode: Any, pixels: NDArray[np.uint8]) -> timing.Way:
    return lambda: encode(pixels) and None


if __name__ == "__main__":
    main()
