"""How well a model folder draws what the demo world's captions say, with plain diffusers.

    python -m sdbatch.demo.score --model sdbatch/demo/weights/demo --json score.json --sheet sheet.png

Combinations that training saw and those held out of it are counted apart.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sdbatch.demo import judge, scenes

FRESH = 20_240_817  # no stage of training draws from this seed
BATCH = 10
SHEET_COLUMNS, SHEET_PICTURES = 8, 40


class Painter:
    """A folder's StableDiffusionPipeline in float32 on the CPU, with DDIM.

    Args:
        folder: a standard diffusers folder.
        steps: denoising steps a picture.
    """

    def __init__(self, folder: Path, steps: int) -> None:
        import diffusers

        # The class as Any: diffusers' own methods are not typed.
        pipeline: Any = diffusers.StableDiffusionPipeline
        scheduler: Any = diffusers.DDIMScheduler
        self._pipe = pipeline.from_pretrained(str(folder), dtype=torch.float32, local_files_only=True)
        self._pipe.scheduler = scheduler.from_config(self._pipe.scheduler.config)
        self._pipe.set_progress_bar_config(disable=True)
        self._steps = steps

    def paint(
        self, prompts: list[str], seeds: list[int], guidance: float, negative: str | None = None
    ) -> NDArray[np.uint8]:
        """One picture a prompt, each from its own seed: (n, 64, 64, 3) uint8 sRGB."""
        parts = []
        for start in range(0, len(prompts), BATCH):
            texts = prompts[start : start + BATCH]
            made = self._pipe(
                texts,
                negative_prompt=None if negative is None else [negative] * len(texts),
                num_inference_steps=self._steps,
                guidance_scale=guidance,
                generator=[torch.Generator().manual_seed(seed) for seed in seeds[start : start + BATCH]],
                output_type="np",
            ).images
            parts.append(np.rint(made * 255).astype(np.uint8))
        return np.concatenate(parts)


def pairs(count: int, seed: int = FRESH) -> tuple[list[scenes.Scene], list[int], NDArray[np.bool_]]:
    """Scenes to ask for, a seed for each, and which are held-out combinations: every second one."""
    rng = np.random.default_rng([seed, 23])
    held = np.arange(count) % 2 == 1
    wanted = [scenes.sample(rng, held=bool(h)) for h in held]
    return wanted, [int(s) for s in rng.integers(0, 2**31, count)], held


def right(readings: list[judge.Reading], wanted: list[scenes.Scene]) -> dict[str, NDArray[np.bool_]]:
    """Per attribute, and for "all three" (color, background, shape): which pictures are right, (n,) bool."""
    hits = {
        name: np.array([getattr(r, name) == getattr(s, name) for r, s in zip(readings, wanted, strict=True)])
        for name in ("color", "background", "shape", "size", "place")
    }
    return hits | {"all three": hits["color"] & hits["background"] & hits["shape"]}


def adherence(painter: Painter, count: int, guidance: float) -> tuple[dict[str, dict[str, float]], NDArray[np.uint8]]:
    """Shares right for seen and held-out combinations apart and together, and the pictures (count, 64, 64, 3)."""
    wanted, seeds, held = pairs(count)
    pictures = painter.paint([scenes.caption(scene) for scene in wanted], seeds, guidance)
    hits = right(judge.read(pictures), wanted)
    groups = {"seen": ~held, "held out": held, "both": np.ones(count, bool)}
    shares = {
        group: {name: float(hit[members].mean()) for name, hit in hits.items()}
        for group, members in groups.items()
        if members.any()
    }
    return shares, pictures


def red_share(painter: Painter, guidance: float, negative: str | None, count: int = 24) -> float:
    """The share of red figures among pictures of "a circle", of `count` seeds."""
    pictures = painter.paint(["a circle"] * count, [FRESH + index for index in range(count)], guidance, negative)
    return float(np.mean([reading.color == "red" for reading in judge.read(pictures)]))


def one_word(painter: Painter, guidance: float, each: int = 4) -> float:
    """The share of figures of the colour that the caption, a single word, names: `each` seeds a colour.

    Full captions are drawn right at any guidance; captions that say little show what guidance is for.
    """
    wanted = [color for color in scenes.COLORS for _ in range(each)]
    pictures = painter.paint(wanted, [FRESH + index for index in range(len(wanted))], guidance)
    return float(np.mean([seen.color == color for seen, color in zip(judge.read(pictures), wanted, strict=True)]))


def sheet(pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The first 40 pictures in rows of 8, two grey pixels between: (height, width, 3) uint8."""
    shown = pictures[:SHEET_PICTURES]
    rows, step = -(-len(shown) // SHEET_COLUMNS), scenes.SIDE + 2
    board = np.full((rows * step + 2, SHEET_COLUMNS * step + 2, 3), 128, np.uint8)
    for index, picture in enumerate(shown):
        top, left = (2 + step * place for place in divmod(index, SHEET_COLUMNS))
        board[top : top + scenes.SIDE, left : left + scenes.SIDE] = picture
    return board


def main(arguments: list[str] | None = None) -> None:
    """Draw, read, and print the shares."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", type=Path, required=True, help="a standard diffusers folder")
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--guidance", type=float, default=4.0)
    parser.add_argument("--json", type=Path, help="also write the shares to this file")
    parser.add_argument("--sheet", type=Path, help="also write the first 40 pictures to this PNG")
    options = parser.parse_args(arguments)
    painter = Painter(options.model, options.steps)
    shares, pictures = adherence(painter, options.pairs, options.guidance)
    found: dict[str, Any] = {"pairs": options.pairs, "steps": options.steps, "guidance": options.guidance, **shares}
    for group, share in shares.items():
        print(f"{group:9}", "  ".join(f"{name} {value:.3f}" for name, value in share.items()), flush=True)
    if options.sheet:
        from PIL import Image

        Image.fromarray(sheet(pictures)).save(options.sheet)
    avoided = {"plain": None, "negative red": "red", "negative a red shape": "a red shape"}
    found["red"] = {name: red_share(painter, options.guidance, negative) for name, negative in avoided.items()}
    print("red among circles:", "  ".join(f"{name} {value:.3f}" for name, value in found["red"].items()), flush=True)
    found["by guidance"] = {str(g): adherence(painter, 40, g)[0]["both"]["all three"] for g in (1, 5)}
    found["one word, by guidance"] = {str(g): one_word(painter, g) for g in (1, 2, 5)}
    for name in ("by guidance", "one word, by guidance"):
        print(f"{name}:", "  ".join(f"{g} {value:.3f}" for g, value in found[name].items()))
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
