"""What kind of fine-tune a safetensors file is, from the names of its tensors."""

from __future__ import annotations

from typing import Literal

from sdbatch.errors import ModelError
from sdbatch.sources.headers import Header

Kind = Literal["lora", "embedding", "hypernetwork"]

HYPERNETWORK_LAYOUT = "sdbatch hypernetwork 1"
"""Value of the metadata key `layout` of hypernetworks as `sdbatch models convert` writes them."""
_OTHERS = {
    "hada_": "LoHa", "lokr_": "LoKr", "dora_scale": "DoRA", "lora_magnitude_vector": "DoRA", "oft_": "OFT",
    "lora_mid": "LoCon with a Tucker core",
}  # fmt: skip
_KOHYA = ("lora_unet_", "lora_te_", "lora_te1_", "lora_te2_")
_DOWN = (".lora_A.weight", "lora.down.weight", ".lora_linear_layer.down.weight")
_SHOWN = 3


def recognise(kind: Kind, header: Header, title: str) -> tuple[str, str]:
    """The format of a fine-tune, and the word that an embedding's file gives itself (else empty).

    Args:
        title: kind and name, for errors.

    Raises:
        ModelError: the file is no fine-tune of this kind.
    """
    if kind == "lora":
        return _lora(header, title), ""
    if kind == "embedding":
        return _embedding(header, title)
    if header.metadata.get("layout") != HYPERNETWORK_LAYOUT:
        raise ModelError(f"{title}: not a hypernetwork that `sdbatch models convert` made; {_holds(header)}")
    return "sdbatch", ""


def _lora(header: Header, title: str) -> str:
    names = list(header.shapes)
    other = next((said for mark, said in _OTHERS.items() if any(mark in name for name in names)), None)
    if other:
        raise ModelError(f"{title}: is a {other}, which is not read; only plain LoRA is, and LoCon without such a core")
    if any(name.startswith(_KOHYA) and name.endswith(".lora_down.weight") for name in names):
        return "kohya"
    if any(name.endswith(_DOWN) for name in names):
        return "diffusers"
    raise ModelError(f"{title}: holds no LoRA layers; {_holds(header)}")


def _embedding(header: Header, title: str) -> tuple[str, str]:
    shapes = header.shapes
    if all(1 <= len(shape) <= 2 and min(shape) > 0 for shape in shapes.values()):  # vectors, or rows of vectors
        if set(shapes) == {"clip_l", "clip_g"}:
            return "sdxl", ""
        if len(shapes) == 1:
            (name,) = shapes
            return ("a1111", "") if name == "emb_params" else ("diffusers", name)
    raise ModelError(f"{title}: not a textual inversion embedding; {_holds(header)}")


def _holds(header: Header) -> str:
    """What a file holds instead, for errors."""
    names = [name if len(name) <= 60 else name[:57] + "..." for name in list(header.shapes)[:_SHOWN]]
    more = ", ..." if len(header.shapes) > _SHOWN else ""
    return f"the file holds {', '.join(names)}{more}" if names else "the file holds no tensors"
