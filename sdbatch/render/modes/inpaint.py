"""inpaint: the masked part repainted, and pasted back into the picture it came from."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sdbatch.errors import InputError
from sdbatch.render.batch import Batch, Context, Picture
from sdbatch.render.inpainting import Masked, encoded, repaint
from sdbatch.render.pasting import paste
from sdbatch.render.redacting import filled
from sdbatch.sources import pictures
from sdbatch.types import Row


@dataclass(frozen=True)
class Prepared:
    """A row's picture and mask, whole and as the model sees them.

    Attributes:
        whole: what is pasted into, (height, width, 3).
        mask: (height, width) of `whole`.
        box: left, top, right, bottom of the part that the model sees; None is all of it.
    """

    whole: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    masked: Masked
    box: tuple[int, int, int, int] | None


def prepare(row: Row, context: Context) -> Prepared:
    """Picture and mask at the row's size, or the crop around the mask at that size."""
    params = row.params
    name, width, height = params["image"], params["width"], params["height"]
    whole, mask = context.inputs.original(name), context.inputs.mask(params["mask"], name)
    key: tuple[Any, ...] = (context.inputs.content(name), width, height, params["fit"], "latents")
    fill = params["masked_content"] == "fill"
    if fill:  # before anything is cut, scaled or encoded: from here on nothing knows what was there
        whole = filled(whole, mask)
        key = (*key, "fill", hashlib.sha256(np.packbits(mask).tobytes()).hexdigest())
    if params["padding_mask_crop"] is None:
        whole = pictures.fit(whole, width, height, params["fit"]) if fill else context.picture(name)
        grey = pictures.fit(mask.astype(np.uint8) * 255, width, height, params["fit"], "nearest")
        mask = np.asarray(grey >= 128)
        if not mask.any() and not _may_be_empty(params["mask"]):
            raise InputError(f"{name}: at {width} x {height} nothing of the mask is left")
        return Prepared(whole, mask, Masked(whole, mask, key), None)
    # Where there is nothing to repaint, as in a picture without faces that is let through, all of it is seen.
    everything = (0, 0, whole.shape[1], whole.shape[0])
    box = _box(mask, width, height, params["padding_mask_crop"]) if mask.any() else everything
    left, top, right, bottom = box
    part = pictures.fit(whole[top:bottom, left:right], width, height, "resize")
    seen = pictures.fit(mask[top:bottom, left:right].astype(np.uint8) * 255, width, height, "resize", "nearest")
    return Prepared(whole, mask, Masked(part, np.asarray(seen >= 128), (*key, box)), box)


def _may_be_empty(mask: Any) -> bool:
    """Whether a picture without faces is let through as it is."""
    return isinstance(mask, dict) and "faces" in mask


def draw(batch: Batch, prepared: Sequence[Prepared]) -> list[Picture]:
    """Repaint, and paste back: into the picture as it was, or as the VAE gives it back."""
    params = batch.context.params
    masked = [one.masked for one in prepared]
    made = repaint(batch, masked)
    under = [one.whole for one in prepared]
    if params["unmasked"] == "encoded":
        under = [_put(one, again) for one, again in zip(prepared, encoded(batch, masked), strict=True)]
    return [
        Picture(paste(below, _put(one, new), one.mask, params["mask_feather"]), {"mask": one.mask * np.uint8(255)})
        for one, below, new in zip(prepared, under, made, strict=True)
    ]


def _put(one: Prepared, new: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What the model made, at the size of the whole picture and in its place."""
    if one.box is None:
        return new
    left, top, right, bottom = one.box
    cover = one.whole.copy()
    cover[top:bottom, left:right] = pictures.fit(new, right - left, bottom - top, "resize")
    return cover


def _box(mask: NDArray[np.bool_], width: int, height: int, padding: int) -> tuple[int, int, int, int]:
    """The mask's box, `padding` pixels wider, in the proportion of width to height where the picture allows."""
    from diffusers.image_processor import VaeImageProcessor

    grey = Image.fromarray(mask.astype(np.uint8) * 255)
    left, top, right, bottom = VaeImageProcessor.get_crop_region(grey, width, height, padding)
    return int(left), int(top), int(right), int(bottom)
