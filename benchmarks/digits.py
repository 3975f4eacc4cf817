"""Of what use variations are: digits told apart by few samples, with and without pictures made of them.

python benchmarks/digits.py [--work DIR] [--draws 3] [--few 5 20]

The 1,797 handwritten digits of scikit-learn (UCI Optical Recognition of Handwritten Digits, CC BY 4.0), brought to
32 × 32 pixels. A third is kept for testing. Of the others some are drawn of each class, and `sdbatch augment` makes
variations of them with two models: one that was taught by those few alone, and one that was taught by all that are
not for testing, in the place of a model that has seen much of the world. Beside them: as many copies that are turned,
shifted and scaled a little, and a classifier that was given all. Takes half an hour on two cores; what is made stays in
--work, so that it goes on where it was cut off.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import digits_model
import numpy as np
import pandas as pd
import timing
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.svm import SVC

SIDE = 32
OF_FEW, OF_ALL = (200, 400), (600, 900)
"""Steps of a model's VAE and UNet."""
MADE = {5: 10, 20: 5}
"""Variations of each picture, by how many there are of a class."""

Pictures = NDArray[np.uint8]
Labels = NDArray[np.int64]


def main() -> None:
    """Measure, and print one JSON object."""
    parser = timing.options(__doc__, rounds=1)
    parser.add_argument("--work", type=Path, default=Path(".digits"), help="models, variations; kept")
    parser.add_argument("--draws", type=int, default=3, help="how often the few are drawn anew")
    parser.add_argument("--few", type=int, nargs="+", default=[5], help="samples of each class; 5 or 20, say")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps-share", type=float, default=1.0, help="of the steps that models are taught by")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    work: Path = options.work.absolute()
    data = load_digits()
    pictures = np.stack([_enlarged(image) for image in data.images])
    pool, test = train_test_split(np.arange(len(pictures)), test_size=1 / 3, stratify=data.target, random_state=0)
    labels: Labels = data.target
    steps = [tuple(max(1, int(n * options.steps_share)) for n in of) for of in (OF_FEW, OF_ALL)]
    names = [str(label) for label in labels]
    known = work / "models" / "all"
    digits_model.teach(known, work / "training" / "all", pictures[pool], [names[i] for i in pool], steps[1], 0)
    found: list[dict[str, Any]] = []
    for few in options.few:
        scores: dict[str, list[dict[str, float]]] = {}
        for draw in range(options.draws):
            picks = _drawn(pool, labels, few, draw)
            name = f"{few}-{draw}"
            own = work / "models" / name
            digits_model.teach(
                own, work / "training" / name, pictures[picks], [names[i] for i in picks], steps[0], draw + 1
            )
            times = MADE.get(few, 10)
            sets = {
                "few": (pictures[picks], labels[picks]),
                "turned": _turned(pictures[picks], labels[picks], times, draw),
                "model of few": _varied(work, name, "few", pictures[picks], labels[picks], own, times),
                "model of all": _varied(work, name, "all", pictures[picks], labels[picks], known, times),
            }
            for what, (more, of) in sets.items():
                extra = (more, of) if what == "few" else _joined(sets["few"], (more, of))
                scores.setdefault(what, []).append(_scored(extra, (pictures[test], labels[test])))
        found += _lines(few, scores)
    whole = _scored((pictures[pool], labels[pool]), (pictures[test], labels[test]))
    found += [{"what": f"all {len(pool)}, {name}", "few": round(value, 3)} for name, value in whole.items()]
    timing.report("digits", found)


def _lines(few: int, scores: Mapping[str, list[dict[str, float]]]) -> list[dict[str, Any]]:
    lines = []
    for classifier in ("SVC", "logistic"):
        line: dict[str, Any] = {"what": f"{few} of each class, {classifier}"}
        for what, each in scores.items():
            values = [one[classifier] for one in each]
            line[what] = round(statistics.mean(values), 3)
            line[f"{what}: each"] = [round(value, 3) for value in values]
        lines.append(line)
    return lines


def _enlarged(image: NDArray[np.float64]) -> Pictures:
    """(8, 8) of 0 to 16 → (32, 32, 3)."""
    grey = Image.fromarray(np.rint(image * (255 / 16)).astype(np.uint8)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    return np.repeat(np.asarray(grey)[..., None], 3, axis=2)


def _drawn(pool: Labels, labels: Labels, few: int, draw: int) -> Labels:
    rng = np.random.default_rng([few, draw])
    return np.concatenate([rng.choice(pool[labels[pool] == label], few, replace=False) for label in range(10)])


def _turned(pictures: Pictures, labels: Labels, times: int, draw: int) -> tuple[Pictures, Labels]:
    """What people do without a model: copies turned by up to 12°, shifted by 2 pixels, scaled by a tenth."""
    import cv2

    rng = np.random.default_rng([draw, 3])
    made = []
    for picture in np.repeat(pictures, times, axis=0):
        matrix = cv2.getRotationMatrix2D((SIDE / 2, SIDE / 2), rng.uniform(-12, 12), rng.uniform(0.9, 1.1))
        matrix[:, 2] += rng.uniform(-2, 2, 2)
        made.append(cv2.warpAffine(picture, matrix, (SIDE, SIDE), flags=cv2.INTER_LINEAR))
    return np.stack(made), np.repeat(labels, times)


def _varied(
    work: Path, name: str, by: str, pictures: Pictures, labels: Labels, model: Path, times: int
) -> tuple[Pictures, Labels]:
    """Variations that `sdbatch augment` makes, those that its guard keeps."""
    few, out = work / "few" / name, work / "runs" / f"{name}-{by}"
    for at, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
        path = few / str(label) / f"{at}.png"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(path)
    command = [
        str(Path(sys.executable).with_name("sdbatch")), "augment", str(few), "--out", str(out), "--model", str(model),
        "--variations", str(times), "--prompt", digits_model.PROMPT, "--strength", "0.6", "--ssim", "0.1:0.95",
        "--quiet", "--executor", "local", "--set", f"width={SIDE}", "--set", f"height={SIDE}",
        "--set", "guidance_scale=2", "--set", "steps=20",
    ]  # fmt: skip
    ended = subprocess.run(command, stdout=subprocess.DEVNULL, check=False)
    if ended.returncode:
        raise SystemExit(f"sdbatch augment ended with {ended.returncode}: {' '.join(command)}")
    lines = pd.read_parquet(out / "manifest").sort_values("row")
    made = np.stack([np.asarray(Image.open(out / path).convert("RGB")) for path in lines["path"]])
    return made, lines["field_label"].astype(int).to_numpy()


def _joined(one: tuple[Pictures, Labels], other: tuple[Pictures, Labels]) -> tuple[Pictures, Labels]:
    return np.concatenate([one[0], other[0]]), np.concatenate([one[1], other[1]])


def _scored(known: tuple[Pictures, Labels], test: tuple[Pictures, Labels]) -> dict[str, float]:
    """Share told right, of pictures brought back to 8 × 8 grey pixels."""
    (x, y), (tx, ty) = ((_features(pictures), labels) for pictures, labels in (known, test))
    makers = {"SVC": SVC(C=10), "logistic": LogisticRegression(max_iter=5000)}
    return {name: float(maker.fit(x, y).score(tx, ty)) for name, maker in makers.items()}


def _features(pictures: Pictures) -> NDArray[np.float64]:
    small = pictures.reshape(len(pictures), 8, 4, 8, 4, 3).mean((2, 4, 5)) / 255
    return small.reshape(len(pictures), 64)


if __name__ == "__main__":
    main()
