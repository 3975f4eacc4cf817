"""The columns of the manifest and of the failures: names, types, what each says."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

TEXT, INT, FLOAT = pa.string(), pa.int64(), pa.float64()


@dataclass(frozen=True)
class Column:
    """One column; `json` says that its text is JSON."""

    name: str
    type: pa.DataType
    about: str
    json: bool = False


HEAD = (
    Column("row", TEXT, "which line: a hash of `id`, stage and free columns"),
    Column("id", TEXT, "which picture: a hash of its parameters and of the model's contents"),
    Column("stage", TEXT, "the stage; `main` in a job without stages"),
    Column("path", TEXT, "the picture, relative to the directory, with `/`"),
)
"""Before the parameters."""

TAIL = (
    Column("prompt_template", TEXT, "the prompt as written, before variants were picked, fields filled in and tags "
           "taken out; null where that changed nothing"),
    Column("negative_prompt_template", TEXT, "the same of the negative prompt"),
    Column("fine_tunes", TEXT, "a list: kind, name, sha256, short hash, and weight, token or strength of each; null "
           "where there are none", json=True),
    Column("parent_id", TEXT, "the `id` of the row of an earlier stage whose picture this one was made from, or with "
           "a recipe the first 20 digits of its parent's hash; else null"),
    Column("model_hash", TEXT, "sha256 over names and contents of the model's files"),
    Column("image_sha256", TEXT, "of the input picture's file (of the control picture's, where there is no other); "
           "null where there is none, or a list"),
    Column("mask_sha256", TEXT, "of the mask's file; null where there is none, or a list"),
    Column("file_sha256", TEXT, "of the file as written"),
    Column("pixel_sha256", TEXT, "of the RGB array, row-major uint8, as handed to the encoder: with the watermark, if "
           "there is one"),
    Column("watermark", TEXT, "the text hidden in the picture; null without one"),
    Column("watermark_bits", FLOAT, "the share of its bits that the written file gives back, 0 to 1"),
    Column("safety", TEXT, "the verdict of the model's safety checker, `safe` or `flagged`; null where there was none"),
    Column("fingerprint", TEXT, "a hash of device kind, versions, model, number format, batch size, threads, "
           "attention, compile, VAE tiling, on CUDA the layout in memory (channels last) where it is compiled and, "
           "where it is low, `vram`"),
    Column("degraded", TEXT, "what was done otherwise than `render:` says: `batch_size`, `vae_tiling`, `vae_dtype`; "
           "null for nothing", json=True),
    Column("device", TEXT, "the kind of device; this and the next four are what the fingerprint is made of"),
    Column("dtype", TEXT, "the number format"),
    Column("batch_size", INT, "the pictures of one pipeline call, padding included"),
    Column("threads", INT, "threads of the worker; on CPUs only"),
    Column("versions", TEXT, "of the libraries; also of the packages of `accelerate`, in rows that have it", json=True),
    Column("scores", TEXT, "what `mode: score` or a recipe's guard measured, by name; else null", json=True),
    Column("attempts", INT, "with a guard: how often the picture was made; else null"),
    Column("seed_used", INT, "with a guard: the last attempt's seed; else null"),
    Column("used", TEXT, "with a guard: what else the last attempt had otherwise than the row; else null", json=True),
    Column("seconds", FLOAT, "time of the batch, divided by its pictures"),
    Column("finished_at", TEXT, "ISO 8601, UTC"),
    Column("run", TEXT, "the run that made it"),
    Column("schema_version", INT, "1; a later version may add columns, which are null in older lines, without raising "
           "it"),
)  # fmt: skip
"""After the parameters and the free columns."""

FAILURE = (
    Column("id", TEXT, "as in the manifest"),
    Column("row", TEXT, "as in the manifest"),
    Column("attempt", INT, "which try of this run; 0 where a worker died and the row cannot be blamed"),
    Column("error", TEXT, "its class"),
    Column("message", TEXT, "what it said"),
    Column("when", TEXT, "ISO 8601, UTC"),
    Column("where", TEXT, "host or actor"),
    Column("run", TEXT, "the run in which it happened"),
)
"""A line an attempt that failed."""
