"""docs/modes.md, for docs/generate.py."""

from __future__ import annotations

import textwrap

from sdbatch import modes
from sdbatch.parameters import MODES, PARAMETERS

MODES_INTRO = """\
# Modes

*The tables on this page are written by `docs/generate.py` from the files of `sdbatch/modes/`. `make docs` renews them.*

`mode` says how a row's picture is made. All modes share manifest, resume, seeds and metadata; `jobs/` has a small job
for each.
"""

MODES_OTHER = """\
## Size

`txt2img` and `inpaint` with `padding_mask_crop` work at `width` × `height`, else at the model's own size. The other
modes take the input picture's own size where `width` or `height` is not given, cut to a multiple of 8. `fit` says how
an input of another size is brought to it: [Input pictures](inputs.md).

## Speed-ups

`accelerate` computes less than the model asks for: [Lossy speed-ups](accelerate.md).

## img2img

`strength` is the share of the steps that are taken. So little that no step is left gives the VAE's own round trip of
the input; 1 starts from noise alone and ignores it, pixel for pixel what `txt2img` makes of the same row.

## inpaint

White in `mask` is repainted; the other forms of a mask are in [Input pictures](inputs.md). Models of kind `sd-inpaint`
see the mask; plain ones are held to the known part at each step. Either way what is outside the mask is the input, bit
for bit, and `mask_feather` blends inside the mask only. The model works on whole latent cells (8 × 8 pixels in most
models): a cell that the mask touches is repainted, and what lies outside the mask is then pasted back.

`padding_mask_crop: 32` repaints only the mask's box and 32 pixels around it, enlarged to `width` × `height`, which
gives small masks the model's full resolution. The picture keeps its own size.

`masked_content: fill` shows the model what is around in place of what is masked: the part is filled before anything is
scaled, cut or encoded, so that nothing of it is left in what is made.

## redact

No model: what `mask` selects is hidden by `redaction`. `fill` puts there what is around, smoothly, and nothing of the
part is left; `blur` and `pixelate` (6 squares along the shorter side) keep a coarse trace of it. The rest stays bit
for bit.

## outpaint

`outpaint: {left: 64, bottom: 32}` adds pixels to sides; the picture itself survives bit for bit. Next to the seam, over
`overlap` pixels of what is new (at most 32 where none is given), the difference between the picture and the model's
own copy of it fades out, so that no step shows.

## depth2img

The depth comes from the model's own estimator, once an input, or from `depth_image` (larger is nearer).
`output.save: [depth]` writes it beside the picture, as a 16-bit PNG.

## controlnet

`controlnet`, `control_image`, `control_scale`, `control_start`, `control_end` and `control_preprocessor` are one value
or a list with one for each ControlNet. Preprocessors: `none`, `canny` (or `{canny: [low, high]}`) and `depth` (or
`{depth: MODEL}`, a model that has an estimator). `output.save: [control]` writes what the ControlNet saw.

## upscale

The kind of model decides how:

| kind | what it does |
|---|---|
| `sd-upscale` | × 4, denoised beside the small picture, which `noise_level` (0 to 350, else 20) makes less binding |
| `sd-latent-upscale` | × 2 between latents |
| `sd`, `sdxl` | × `scale` (else 2) by Lanczos, then img2img with `strength`, in tiles of side `tile` if given |
| `realesrgan` | × 4 by Real-ESRGAN, no diffusion: `model: realesrgan-x4plus` and `pip install "sdbatch[realesrgan]"` |

Tiles overlap by `overlap` pixels (a quarter of a tile where none is given). They share their noise there and are
blended, so that no seam shows, and only one batch of tiles is in memory at a time.
"""


def uses() -> list[frozenset[str]]:
    """The parameters of each mode that makes pictures."""
    return [modes.get(name).USES for name in modes.available() if name != modes.SCORE]


def modes_page() -> str:
    """docs/modes.md: mode x pipeline x kinds of model x parameters."""
    lines = [
        MODES_INTRO,
        "| mode | what it makes |",
        "|---|---|",
        *(f"| `{name}` | {modes.get(name).ABOUT} |" for name in MODES),
        "",
        "## Pipelines and models",
        "",
        "| mode | kind of model | diffusers' pipeline |",
        "|---|---|---|",
    ]
    for name in MODES:
        for kind, pipeline in modes.get(name).PIPELINES.items():
            lines.append(f"| `{name}` | `{kind}` | {f'`{pipeline}`' if pipeline else 'none: its own network'} |")
    shared = frozenset.intersection(*uses())
    lines += [
        "",
        "## Parameters",
        "",
        *textwrap.wrap(
            "Every mode that makes pictures uses "
            + ", ".join(f"`{name}`" for name in PARAMETERS if name in shared)
            + ".",
            120,
        ),
        "",
        "| mode | needs | may have |",
        "|---|---|---|",
    ]
    for name in MODES:
        mode = modes.get(name)
        rest = [key for key in PARAMETERS if key in mode.USES - shared and key not in mode.NEEDS]
        cells = [", ".join(f"`{key}`" for key in keys) or "nothing more" for keys in (mode.NEEDS, rest)]
        lines.append(f"| `{name}` | {cells[0]} | {cells[1]} |")
    return "\n".join([*lines, "", MODES_OTHER])
