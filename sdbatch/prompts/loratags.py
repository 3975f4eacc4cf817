"""`<lora:name:0.8>` and `<hypernet:name:0.7>`: fine-tunes that a prompt names in passing, as AUTOMATIC1111's do."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

Kind = Literal["lora", "hypernet"]

KINDS: dict[str, Kind] = {"lora": "lora", "lyco": "lora", "hypernet": "hypernet"}
"""What a tag may begin with, and the kind of fine-tune that it names. LyCORIS files are LoRAs in the wider sense."""
_TAG = re.compile(rf"<({'|'.join(KINDS)}):([^<>]*)(>?)")
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Tag:
    """One tag.

    Attributes:
        name: the fine-tune's, as written.
        weight: of a LoRA in the text encoder, and in the UNet where `unet` is None; a hypernetwork's strength.
        unet: the weight in the UNet, where a LoRA's tag gives one of its own.
    """

    kind: Kind
    name: str
    weight: float = 1.0
    unet: float | None = None


def extract(text: str) -> tuple[str, tuple[Tag, ...]]:
    """Take the tags out of a prompt: the text without them, not otherwise changed, and the tags in order.

    `<lora:NAME>`, `<lora:NAME:WEIGHT>`, `<lora:NAME:TEXT_ENCODER:UNET>` (the last also as `te=` and `unet=`), the same
    with `lyco`, `<hypernet:NAME>` and `<hypernet:NAME:STRENGTH>`. Other angle brackets are text.

    Raises:
        ValueError: a tag is not closed, has no name, or a weight that is no number.
    """
    if "<" not in text:
        return text, ()
    tags: list[Tag] = []

    def take(match: re.Match[str]) -> str:
        tags.append(_tag(match))
        return ""

    return _TAG.sub(take, text), tuple(tags)


def _tag(match: re.Match[str]) -> Tag:
    shown = match[0] if len(match[0]) <= 60 else match[0][:57] + "..."
    if not match[3]:
        raise ValueError(f"{shown!r} is not closed; write <{match[1]}:NAME:WEIGHT>")
    kind = KINDS[match[1]]
    name, *rest = (part.strip() for part in match[2].split(":"))
    if not name:
        raise ValueError(f"{shown!r} names no file; write <{match[1]}:NAME:WEIGHT>")
    most = 2 if kind == "lora" else 1
    if len(rest) > most:
        raise ValueError(f"{shown!r} has {len(rest)} numbers; at most {most}")
    named = dict(_weight(part, at, shown) for at, part in enumerate(rest))
    if len(named) < len(rest):
        raise ValueError(f"{shown!r} gives a weight twice")
    if kind == "hypernet" and "unet" in named:
        raise ValueError(f"{shown!r}: 'unet' is not one of te; a hypernetwork has one strength")
    # As AUTOMATIC1111: what is not given for the UNet is that of the text encoder.
    return Tag(kind, name, named.get("te", 1.0), named.get("unet"))


def _weight(part: str, at: int, shown: str) -> tuple[str, float]:
    """Which weight a part gives, and the number."""
    key, equals, number = part.rpartition("=")
    key = key.strip() if equals else ("te", "unet")[at]
    number = number.strip()
    if key not in ("te", "unet"):
        raise ValueError(f"{shown!r}: {key!r} is not one of te, unet")
    if not _NUMBER.match(number) or not math.isfinite(float(number)):
        raise ValueError(f"{shown!r}: {number!r} is not a number such as 0.8")
    return key, float(number)
