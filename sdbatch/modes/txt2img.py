"""txt2img: a picture from a prompt and a seed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PIPELINE = "StableDiffusionPipeline"
KINDS = ("sd",)
USES = frozenset(
    "model revision vae mode prompt negative_prompt prompt_syntax seed width height steps guidance_scale scheduler "
    "sigmas eta clip_skip loras embeddings hypernetwork accelerate".split()
)
LATER = frozenset("vae prompt_syntax loras embeddings hypernetwork accelerate".split())
"""Parameters that the mode will use but that this version cannot do yet; only their default is accepted."""


def arguments(params: Mapping[str, Any]) -> dict[str, Any]:
    """The pipeline's arguments that all rows of a batch share."""
    return {
        "width": params["width"],
        "height": params["height"],
        "num_inference_steps": params["steps"],
        "eta": params["eta"],
    }
