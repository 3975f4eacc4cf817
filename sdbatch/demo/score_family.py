"""How well the family does what it is for, with plain diffusers pipelines, on scenes that training never drew.

    python -m sdbatch.demo.score_family --weights sdbatch/demo/weights --json scores.json --sheets docs/images

Every second scene is of a combination of colour, shape and background that was held out of training.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sdbatch.demo import conditions, family_pipelines, judge, scenes, score
from sdbatch.demo.family_pipelines import Pixels, paint
from sdbatch.demo.scenes import Scene

STEPS, GUIDANCE = 20, 4.0
SHOWN = 8  # pictures a row of a sheet
Found = tuple[dict[str, float], list[Pixels]]
"""Scores by name, and the rows of a sheet, each (8, 64, 64, 3)."""


def inpaint(pipe: Any, count: int) -> Found:
    """A figure is boxed and replaced by one of another shape and colour; outside the box all stays as it was.

    `shape, not asked for` is how often that shape comes where the caption names none, and so what is owed to chance.
    """
    old, seeds, _ = score.pairs(count, score.FRESH + 1)
    new = [other(scene, seed, ("shape", "color")) for scene, seed in zip(old, seeds, strict=True)]
    before = _rendered(old)
    masks = np.stack([box(scene) for scene in old])
    given = {"image": list(before), "mask_image": list(masks.astype(np.uint8) * 255)}
    size = {"height": scenes.SIDE, "width": scenes.SIDE}

    def made(texts: list[str]) -> tuple[Pixels, Pixels]:
        raw = paint(pipe, texts, seeds, **given, **size, **_usual())
        return raw, np.where(masks[..., None], raw, before)

    raw, after = made([scenes.caption(scene) for scene in new])
    _, silent = made([scenes.caption(scene, without=("shape",)) for scene in new])
    hits = score.right(judge.read(after), new)
    found = {name: _share(hits[name]) for name in ("shape", "color", "background", "all three")}
    found["shape, not asked for"] = _share(score.right(judge.read(silent), new)["shape"])
    found["the old shape"] = _share(score.right(judge.read(after), old)["shape"])
    found["change outside, of 255"] = float(np.abs(raw.astype(float) - before)[~masks].mean())
    holed = np.where(masks[..., None], np.uint8(128), before)
    return found, [before, holed, after]


def depth(pipe: Any, count: int) -> Found:
    """The same depth in other colours; the prompt says the colours and not the shape."""
    old, seeds, _ = score.pairs(count, score.FRESH + 2)
    new = [other(scene, seed, ("color", "background")) for scene, seed in zip(old, seeds, strict=True)]
    before, texts = _rendered(old), [scenes.caption(scene, without=("shape", "size", "place")) for scene in new]
    near = family_pipelines.depths(pipe, before)
    truths = np.stack([conditions.depth(scene) for scene in old])
    inside = np.stack([scenes.coverage(scene) for scene in old]) >= 0.5
    figures = near.mean((1, 2), where=inside)
    found = {
        "estimator: mean error": float(np.abs(near - truths).mean()),
        "estimator: figure nearer": _share(_figure_nearer(near, inside)),
        "estimator: larger is nearer": _ordered(figures, np.array([scene.radius for scene in old])),
    }
    rows = [before, _greys(near)]
    for strength in (0.8, 1.0):
        after = paint(pipe, texts, seeds, image=list(before), strength=strength, **_usual())
        hits, again = score.right(judge.read(after), new), family_pipelines.depths(pipe, after)
        named = {name: _share(hits[name]) for name in ("shape", "size", "place", "color", "background")}
        named["figure nearer"] = _share(_figure_nearer(again, inside))
        named["correlation of depths"] = float(
            np.mean([np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(near, again, strict=True)])
        )
        found |= {f"strength {strength}: {name}": value for name, value in named.items()}
        rows.append(after)
    return found, rows


def controlnet(pipe: Any, count: int) -> Found:
    """Edges, and a prompt that says the colours and not the shape; beside it the same without the ControlNet."""
    wanted, seeds, _ = score.pairs(count, score.FRESH + 3)
    lines = np.stack([_rgb(conditions.edges(picture)) for picture in _rendered(wanted)])
    texts = [scenes.caption(scene, without=("shape", "size", "place")) for scene in wanted]
    found: dict[str, float] = {}
    rows = [lines]
    for scale in (1.0, 0.0):
        made = paint(pipe, texts, seeds, image=list(lines), controlnet_conditioning_scale=scale, **_usual())
        hits = score.right(judge.read(made), wanted)
        names = ("shape", "size", "place", "color", "background")
        found |= {f"scale {scale:g}: {name}": _share(hits[name]) for name in names}
        rows.append(made)
    return found, rows


def upscaler(pipe: Any, count: int) -> Found:
    """PSNR in dB against bicubic: whole scenes of 16 to 64 pixels, and windows of scenes of 256 pixels."""
    wanted, seeds, _ = score.pairs(count, score.FRESH + 4)
    rng = np.random.default_rng(score.FRESH)
    found: dict[str, float] = {}
    rows: list[Pixels] = []
    windows: list[Scene] = [conditions.window(scene, rng) for scene in wanted]
    for name, drawn in (("whole", wanted), ("window", windows)):
        truth = _rendered(drawn)
        small = conditions.small(truth)
        plain = np.stack([_bicubic(picture) for picture in small])
        base = psnr(plain, truth)
        found[f"{name}: bicubic"] = float(base.mean())
        ways = {"noise level 0": (0, False), "noise level 20": (20, False), "noise level 20, caption": (20, True)}
        for way, (level, told) in ways.items():
            texts = [scenes.caption(scene) if told else "" for scene in drawn]
            options = _usual() | {"noise_level": level, "guidance_scale": 1.0}
            made = paint(pipe, texts, seeds, image=list(small), **options)
            dB = psnr(made, truth)
            found |= {f"{name}: {way}": float(dB.mean()), f"{name}: {way}, share better": _share(dB > base)}
            if way == "noise level 20":
                rows += [plain, made, truth] if name == "whole" else [plain, made]
    return found, rows


SCORES: dict[str, Callable[[Any, int], Found]] = {
    "demo-inpaint": inpaint,
    "demo-depth": depth,
    "demo-controlnet": controlnet,
    "demo-upscaler": upscaler,
}


def other(scene: Scene, seed: int, changed: tuple[str, ...]) -> Scene:
    """The scene with other values of some attributes, the figure still of another colour than the background."""
    rng = np.random.default_rng([seed, 41])
    values: dict[str, Any] = {}
    for name in changed:
        taken = {getattr(scene, name)}
        if name in ("color", "background"):
            taken |= {values.get("color", scene.color), values.get("background", scene.background)}
        left = [value for value in scenes.ATTRIBUTES[name] if value not in taken]
        values[name] = left[rng.integers(len(left))]
    return replace(scene, **values)


def box(scene: Scene, margin: float = 4.0) -> NDArray[np.bool_]:
    """A square about a figure, (64, 64): what one would draw to have it replaced."""
    mask = np.zeros((scenes.SIDE, scenes.SIDE), bool)
    x, y = scene.center
    left, right = (max(0, round(x + way * (scene.radius + margin))) for way in (-1, 1))
    top, bottom = (max(0, round(y + way * (scene.radius + margin))) for way in (-1, 1))
    mask[top:bottom, left:right] = True
    return mask


def psnr(made: Pixels, truth: Pixels) -> NDArray[np.float64]:
    """Peak signal-to-noise ratio of each picture, dB: 10 log10(255² / MSE); (n, h, w, 3) twice to (n,)."""
    error = np.square(made.astype(np.float64) - truth).mean((1, 2, 3))
    return np.asarray(10 * np.log10(255.0**2 / np.maximum(error, 1e-9)))


def _usual() -> dict[str, Any]:
    return {"num_inference_steps": STEPS, "guidance_scale": GUIDANCE}


def _rendered(wanted: list[Scene]) -> Pixels:
    return np.stack([scenes.render(scene) for scene in wanted])


def _share(hits: NDArray[np.bool_]) -> float:
    return float(np.mean(hits))


def _figure_nearer(near: NDArray[np.float32], inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether the figure's mean is nearer than the ground's nearest twentieth: (n,)."""
    figure = near.mean((1, 2), where=inside)
    ground = [np.quantile(one[~mask], 0.95) for one, mask in zip(near, inside, strict=True)]
    return np.asarray(figure > np.array(ground))


def _ordered(values: NDArray[np.float32], truth: NDArray[np.float64]) -> float:
    """The share of pairs whose order is the true one, of those that differ by more than a pixel."""
    less = truth[:, None] < truth[None, :] - 1.0
    return float((values[:, None] < values[None, :])[less].mean())


def _greys(near: NDArray[np.float32]) -> Pixels:
    low, high = (near.min((1, 2), keepdims=True), near.max((1, 2), keepdims=True))
    return _rgb(np.rint(255 * (near - low) / (high - low)).astype(np.uint8))


def _rgb(grey: Pixels) -> Pixels:
    return np.repeat(grey[..., None], 3, axis=-1)


def _bicubic(picture: Pixels) -> Pixels:
    return np.asarray(Image.fromarray(picture).resize((scenes.SIDE, scenes.SIDE), Image.Resampling.BICUBIC))


def main(arguments: list[str] | None = None) -> None:
    """Score the folders that are there, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--weights", type=Path, required=True, help="holds `demo` and the family's folders")
    parser.add_argument("--only", nargs="+", choices=tuple(SCORES), default=list(SCORES))
    parser.add_argument("--count", type=int, default=100, help="pictures of each model")
    parser.add_argument("--json", type=Path, help="also write the scores to this file")
    parser.add_argument("--sheets", type=Path, help="also write a PNG of eight examples of each model to this folder")
    options = parser.parse_args(arguments)
    scores: dict[str, Any] = {"count": options.count, "steps": STEPS, "guidance": GUIDANCE}
    for name in options.only:
        if not (options.weights / name).is_dir():
            print(f"{name}: not there")
            continue
        found, rows = SCORES[name](family_pipelines.load(options.weights / name), options.count)
        scores[name] = {key: round(value, 4) for key, value in found.items()}
        print(name, *(f"  {key}: {value:.3f}" for key, value in found.items()), sep="\n", flush=True)
        if options.sheets:
            shown = np.concatenate([row[:SHOWN] for row in rows])
            Image.fromarray(score.sheet(shown)).save(options.sheets / f"{name}.png", optimize=True)
    if options.json:
        options.json.write_text(json.dumps(scores, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
