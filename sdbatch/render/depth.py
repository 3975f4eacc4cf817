"""Depth of a picture, by a model's own estimator; larger is nearer."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray


def estimate(estimator: Any, extractor: Any, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Inverse depth up to scale and shift, (height, width) float32 at the estimator's own size.

    Args:
        estimator: transformers' DPTForDepthEstimation.
        extractor: its image processor.
        picture: (height, width, 3).
    """
    device, dtype = next(estimator.parameters()).device, estimator.dtype
    seen = extractor(images=picture, return_tensors="pt").pixel_values.to(device, dtype)
    # DPT-hybrid's batch norms do not take half precision, and diffusers runs it under autocast too.
    with nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype=dtype):
        found = estimator(seen).predicted_depth
    return found[0].float().cpu().numpy()


def condition(depth: NDArray[np.float32], width: int, height: int) -> torch.Tensor:
    """Depth as the depth2img model takes it: (1, 1, height, width) in -1 (far) to 1 (near); 0 where it is flat."""
    found = torch.from_numpy(np.ascontiguousarray(depth))[None, None]
    found = torch.nn.functional.interpolate(found, size=(height, width), mode="bicubic", align_corners=False)
    low, high = found.amin(), found.amax()
    return torch.zeros_like(found) if high == low else 2 * (found - low) / (high - low) - 1


def grey(depth: NDArray[np.float32], width: int, height: int) -> NDArray[np.uint8]:
    """Depth as a picture, (height, width, 3): near is white."""
    scaled = (condition(depth, width, height)[0, 0].clamp(-1, 1) + 1) * 127.5
    found: NDArray[np.uint8] = scaled.round().to(torch.uint8).numpy()
    return np.repeat(found[..., None], 3, axis=2)


def sixteen(depth: NDArray[np.float32], width: int, height: int) -> NDArray[np.uint16]:
    """Depth for a 16-bit file, (height, width): near is 65535."""
    scaled = (condition(depth, width, height)[0, 0].clamp(-1, 1).double() + 1) * 32767.5
    return scaled.round().numpy().astype(np.uint16)
